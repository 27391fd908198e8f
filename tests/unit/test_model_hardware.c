// SPDX-License-Identifier: Apache-2.0
//
// The hardware probe on machines laid out below a temporary folder.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/hardware_probe.h"

static char root[64];

static int setup(void **state) {
  (void)state;
  strcpy(root, "/tmp/rh-machine-XXXXXX");
  return mkdtemp(root) == NULL ? -1 : 0;
}

static int teardown(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", root);
  return system(command);
}

static void lay(const char *path, const char *text) {
  char full[512], command[640];
  snprintf(full, sizeof full, "%s%s", root, path);
  snprintf(command, sizeof command, "mkdir -p \"$(dirname '%s')\"", full);
  assert_int_equal(system(command), 0);
  FILE *file = fopen(full, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static cpu_set_t processors(size_t first, size_t last) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (size_t i = first; i <= last; i++) CPU_SET(i, &set);
  return set;
}

static void lay_topology(int cpu, int package, int core) {
  char path[128], text[16];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/physical_package_id", cpu);
  snprintf(text, sizeof text, "%d\n", package);
  lay(path, text);
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/core_id", cpu);
  snprintf(text, sizeof text, "%d\n", core);
  lay(path, text);
}

static void test_features_are_whole_words_that_matter(void **state) {
  (void)state;
  rh_hardware hardware;
  lay("/proc/cpuinfo",
      "processor\t: 0\nmodel name\t: Big CPU 9000\nflags\t\t: fpu sse4_2 avx avx2 fma f16c avx512f avx512_vnni "
      "amx_int8 "
      "svm xavx512bw\n\nprocessor\t: 1\n");
  rh_probe_cpu(root, &hardware);
  assert_string_equal(hardware.cpu_name, "Big CPU 9000");
  assert_string_equal(hardware.cpu_features, "sse4_2 avx avx2 fma f16c avx512f avx512_vnni amx_int8");
}

static void test_arm_features(void **state) {
  (void)state;
  rh_hardware hardware;
  lay("/proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16 sve\n");
  rh_probe_cpu(root, &hardware);
  assert_string_equal(hardware.cpu_name, "unknown");
  assert_string_equal(hardware.cpu_features, "asimd asimddp i8mm bf16 sve");
}

static void test_cores_are_counted_once_and_only_those_allowed(void **state) {
  (void)state;
  for (int cpu = 0; cpu < 8; cpu++) lay_topology(cpu, cpu / 4, cpu % 4 / 2);  // 2 packages x 2 cores x 2 threads
  cpu_set_t all = processors(0, 7), half = processors(0, 3), one = processors(5, 5);
  assert_int_equal(rh_probe_physical_cores(root, &all), 4);
  assert_int_equal(rh_probe_physical_cores(root, &half), 2);
  assert_int_equal(rh_probe_physical_cores(root, &one), 1);
  cpu_set_t unknown = processors(100, 101);
  assert_int_equal(rh_probe_physical_cores(root, &unknown), 0);
}

static void test_nothing_known(void **state) {
  (void)state;
  rh_hardware hardware;
  cpu_set_t four = processors(0, 3);
  rh_probe_machine(root, &four, &hardware);
  assert_int_equal(hardware.cores_physical, 4);
  assert_int_equal(hardware.cores_logical, 4);
  assert_int_equal(hardware.memory_bytes, 0);
  assert_string_equal(hardware.gpus, "");
  assert_non_null(strstr(hardware.gpu_reason, "not loaded"));
  assert_non_null(strstr(hardware.os, "glibc"));
}

static void test_cgroup_v2_limits_of_every_level(void **state) {
  (void)state;
  rh_hardware hardware;
  lay("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n");
  lay("/proc/self/cgroup", "0::/a/b\n");
  lay("/sys/fs/cgroup/a/memory.max", "2147483648\n");
  lay("/sys/fs/cgroup/a/memory.current", "1073741824\n");
  lay("/sys/fs/cgroup/a/b/memory.max", "max\n");
  lay("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  lay("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  cpu_set_t eight = processors(0, 7);
  rh_probe_machine(root, &eight, &hardware);
  assert_int_equal(hardware.memory_bytes, INT64_C(2147483648));
  assert_int_equal(hardware.memory_free_bytes, INT64_C(1073741824));
  assert_int_equal(hardware.cores_physical, 2);
  assert_int_equal(hardware.cores_logical, 2);
}

static void test_cgroup_v1_limits(void **state) {
  (void)state;
  rh_cgroup_limits limits;
  lay("/proc/self/cgroup", "4:memory:/job\n3:cpu,cpuacct:/job\n2:pids:/x\n0::/\n");
  lay("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  lay("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1000000\n");
  lay("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "2000000\n");
  lay("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "50000\n");
  lay("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
  lay("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  lay("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  rh_probe_cgroup(root, &limits);
  assert_int_equal(limits.memory_bytes, 1000000);
  assert_int_equal(limits.memory_free_bytes, 0);
  assert_true(limits.cpus > 0.49 && limits.cpus < 0.51);
}

// In a container the process's own path does not exist below the mount; the mount is its group.
static void test_cgroup_path_of_the_host(void **state) {
  (void)state;
  rh_cgroup_limits limits;
  lay("/proc/self/cgroup", "0::/system.slice/docker-123.scope\n");
  lay("/sys/fs/cgroup/memory.max", "5000\n");
  rh_probe_cgroup(root, &limits);
  assert_int_equal(limits.memory_bytes, 5000);
}

static void test_gpus(void **state) {
  (void)state;
  rh_hardware hardware;
  lay("/proc/driver/nvidia/version",
      "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\nGCC: 12.2\n");
  lay("/proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   1\n");
  lay("/sys/class/drm/card0/device/vendor", "0x10de\n");
  lay("/sys/class/drm/card1/device/vendor", "0x1002\n");
  lay("/sys/class/drm/card1/device/device", "0x744c\n");
  lay("/sys/class/drm/card1-DP-1/device/vendor", "0x1002\n");
  lay("/sys/class/drm/card2/device/vendor", "0x1a03\n");
  rh_probe_gpus(root, &hardware);
  assert_string_equal(hardware.gpus, "NVIDIA H100 80GB HBM3 (driver 550.54.15)\nAMD GPU 0x744c (card1)");
  assert_string_equal(hardware.gpu_reason, "");
  assert_int_equal(hardware.gpu_count, 2);
  assert_string_equal(hardware.gpu[0].name, "NVIDIA H100 80GB HBM3");
  assert_string_equal(hardware.gpu[0].vendor, "nvidia");
  assert_int_equal(hardware.gpu[0].memory_bytes, 0);
  assert_string_equal(hardware.gpu[1].vendor, "amd");
}

static void test_amd_memory(void **state) {
  (void)state;
  rh_hardware hardware;
  lay("/sys/class/drm/card0/device/vendor", "0x1002\n");
  lay("/sys/class/drm/card0/device/mem_info_vram_total", "25753026560\n");
  lay("/sys/class/drm/card0/device/mem_info_vram_used", "1000000000\n");
  lay("/sys/class/drm/card1/device/vendor", "0x1002\n");
  lay("/sys/class/drm/card1/device/mem_info_vram_total", "not a number\n");
  lay("/sys/class/drm/card1/device/mem_info_vram_used", "-5\n");
  lay("/sys/class/drm/card2/device/vendor", "0x1002\n");
  lay("/sys/class/drm/card2/device/mem_info_vram_total", "1000\n");
  lay("/sys/class/drm/card2/device/mem_info_vram_used", "2000\n");
  lay("/sys/class/drm/card3/device/vendor", "0x8086\n");
  lay("/sys/class/drm/card3/device/mem_info_vram_total", "5\n");
  rh_probe_gpus(root, &hardware);
  assert_int_equal(hardware.gpu_count, 4);
  assert_int_equal(hardware.gpu[0].memory_bytes, INT64_C(25753026560));
  assert_int_equal(hardware.gpu[0].memory_free_bytes, INT64_C(24753026560));
  assert_int_equal(hardware.gpu[1].memory_bytes, 0);
  assert_int_equal(hardware.gpu[1].memory_free_bytes, 0);
  assert_int_equal(hardware.gpu[2].memory_bytes, 1000);
  assert_int_equal(hardware.gpu[2].memory_free_bytes, 0);
  assert_string_equal(hardware.gpu[3].vendor, "intel");
  assert_int_equal(hardware.gpu[3].memory_bytes, 0);
}

static void test_more_cards_than_there_is_room_for(void **state) {
  (void)state;
  rh_hardware hardware;
  for (int i = 0; i < 40; i++) {
    char path[96];
    snprintf(path, sizeof path, "/sys/class/drm/card%d/device/vendor", i);
    lay(path, "0x1002\n");
  }
  rh_probe_gpus(root, &hardware);
  assert_int_equal(hardware.gpu_count, RH_GPUS_MAX);
  assert_true(strlen(hardware.gpus) < sizeof hardware.gpus);
}

// NVIDIA's library as a driver would play it: three GPUs, of which the second cannot be opened and the last lies.
static struct {
  int init_result, inits, shutdowns;
  unsigned count;
} driver;

static int nvml_init(void) {
  driver.inits++;
  return driver.init_result;
}
static int nvml_shutdown(void) {
  driver.shutdowns++;
  return 0;
}
static int nvml_count(unsigned *count) {
  *count = driver.count;
  return 0;
}
static int nvml_device(unsigned index, void **device) {
  static char handles[64];
  if (index == 1) return 3;
  *device = &handles[index < 64 ? index : 63];
  handles[index < 64 ? index : 63] = (char)index;
  return 0;
}
static int nvml_name(void *device, char *name, unsigned size) {
  if (*(char *)device != 0) return 1;
  memset(name, 'x', size);  // and forgets the NUL
  memcpy(name, "NVIDIA L4", 9);
  return 0;
}
static int nvml_memory(void *device, rh_nvml_memory *memory) {
  bool lies = *(char *)device == 2;
  *memory = (rh_nvml_memory){.total_bytes = 24000, .free_bytes = lies ? 25000 : 20000};
  return 0;
}
static const rh_nvml_calls nvml = {nvml_init, nvml_shutdown, nvml_count, nvml_device, nvml_name, nvml_memory};

static void test_nvidia_memory(void **state) {
  (void)state;
  rh_gpu found[RH_GPUS_MAX];
  memset(&driver, 0, sizeof driver);
  driver.count = 3;
  assert_int_equal(rh_probe_nvml_with(&nvml, found, RH_GPUS_MAX), 2);
  assert_int_equal(driver.shutdowns, 1);
  assert_memory_equal(found[0].name, "NVIDIA L4", 9);
  assert_int_equal(strlen(found[0].name), sizeof found[0].name - 1);
  assert_int_equal(found[0].memory_bytes, 24000);
  assert_int_equal(found[0].memory_free_bytes, 20000);
  assert_string_equal(found[1].name, "NVIDIA GPU");
  assert_int_equal(found[1].memory_bytes, 0);
  driver.count = 1000000;
  assert_int_equal(rh_probe_nvml_with(&nvml, found, 4), 4);
  driver.init_result = 9;
  assert_int_equal(rh_probe_nvml_with(&nvml, found, RH_GPUS_MAX), 0);
  assert_int_equal(driver.inits, 3);
  assert_int_equal(driver.shutdowns, 2);
}

// The kernel's list and the library's are joined in order; what only the library knows (a container without the
// driver's files) is added.
static void test_nvidia_memory_joins_the_cards(void **state) {
  (void)state;
  rh_hardware hardware;
  lay("/proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA A\n");
  lay("/sys/class/drm/card1/device/vendor", "0x1002\n");
  rh_probe_gpus(root, &hardware);
  const rh_gpu found[] = {{.name = "NVIDIA A", .vendor = "nvidia", .memory_bytes = 10, .memory_free_bytes = 4},
                          {.name = "NVIDIA B", .vendor = "nvidia", .memory_bytes = 20, .memory_free_bytes = 5}};
  rh_probe_merge_nvidia(&hardware, found, 2);
  assert_int_equal(hardware.gpu_count, 3);
  assert_int_equal(hardware.gpu[0].memory_bytes, 10);
  assert_int_equal(hardware.gpu[1].memory_bytes, 0);
  assert_string_equal(hardware.gpu[2].name, "NVIDIA B");
  assert_int_equal(hardware.gpu[2].memory_free_bytes, 5);
  assert_non_null(strstr(hardware.gpus, "NVIDIA B"));
  memset(&hardware, 0, sizeof hardware);
  strcpy(hardware.gpu_reason, "nothing");
  rh_probe_merge_nvidia(&hardware, NULL, 0);
  assert_string_equal(hardware.gpu_reason, "nothing");
  rh_probe_merge_nvidia(&hardware, found, 1);
  assert_int_equal(hardware.gpu_count, 1);
  assert_string_equal(hardware.gpu_reason, "");
}

static void test_this_machine(void **state) {
  (void)state;
  rh_hardware hardware;
  rh_hardware_probe(&hardware);
  assert_true(hardware.cores_logical >= 1);
  assert_true(hardware.cores_physical >= 1 && hardware.cores_physical <= hardware.cores_logical);
  assert_true(hardware.memory_bytes > 0);
  assert_true(hardware.memory_free_bytes <= hardware.memory_bytes);
  assert_true(hardware.gpu_count <= RH_GPUS_MAX);
  assert_int_equal(hardware.gpu_count > 0, hardware.gpus[0] != '\0');
  for (size_t i = 0; i < hardware.gpu_count; i++) {
    assert_true(hardware.gpu[i].memory_free_bytes >= 0);
    assert_true(hardware.gpu[i].memory_free_bytes <= hardware.gpu[i].memory_bytes);
  }
}

#define WITH_ROOT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_ROOT(test_features_are_whole_words_that_matter),
      WITH_ROOT(test_arm_features),
      WITH_ROOT(test_cores_are_counted_once_and_only_those_allowed),
      WITH_ROOT(test_nothing_known),
      WITH_ROOT(test_cgroup_v2_limits_of_every_level),
      WITH_ROOT(test_cgroup_v1_limits),
      WITH_ROOT(test_cgroup_path_of_the_host),
      WITH_ROOT(test_gpus),
      WITH_ROOT(test_amd_memory),
      WITH_ROOT(test_more_cards_than_there_is_room_for),
      cmocka_unit_test(test_nvidia_memory),
      WITH_ROOT(test_nvidia_memory_joins_the_cards),
      cmocka_unit_test(test_this_machine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
