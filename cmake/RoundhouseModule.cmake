# SPDX-License-Identifier: Apache-2.0
#
# rh_module: one static library rh_<name> from the .c files of one folder below src/. The modules it names are the ones
# that LAYERS lets its folder include. A folder with headers alone becomes an interface library.
function(rh_module name)
  cmake_parse_arguments(arg "" "FOLDER" "MODULES;LIBRARIES;SUBFOLDERS" ${ARGN})
  if(NOT arg_FOLDER)
    set(arg_FOLDER ${name})
  endif()
  set(patterns "src/${arg_FOLDER}/*.c")
  foreach(subfolder IN LISTS arg_SUBFOLDERS)
    list(APPEND patterns "src/${arg_FOLDER}/${subfolder}/*.c")
  endforeach()
  list(TRANSFORM patterns PREPEND "${CMAKE_SOURCE_DIR}/")
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  # main.c belongs to a program: a test must be able to link the rest.
  list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  list(TRANSFORM arg_MODULES PREPEND rh_)

  if(sources)
    add_library(rh_${name} STATIC ${sources})
    target_link_libraries(rh_${name} PUBLIC ${arg_MODULES} ${arg_LIBRARIES} rh_flags)
  else()
    add_library(rh_${name} INTERFACE)
    target_link_libraries(rh_${name} INTERFACE ${arg_MODULES} ${arg_LIBRARIES} rh_flags)
  endif()
endfunction()

# rh_program: an executable at the top of the build folder. Only the worker and the converter find llama.cpp: the daemon links
# no engine.
function(rh_program name)
  cmake_parse_arguments(arg "" "MAIN" "MODULES" ${ARGN})
  set(modules ${arg_MODULES})
  list(TRANSFORM arg_MODULES PREPEND rh_)
  add_executable(${name} ${arg_MAIN})
  target_link_libraries(${name} PRIVATE ${arg_MODULES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
  if(worker IN_LIST modules OR convert IN_LIST modules)
    rh_run_path(${name})
  endif()
endfunction()

# rh_run_path: where a program looks for llama.cpp's libraries, the same in the build folder as after installation. Left to
# itself, CMake ends a build's run path with ':', an empty entry, and the loader takes that for the current folder: whoever
# can write where the daemon was started could slip a library into its workers.
function(rh_run_path name)
  set(paths ${RH_BUILD_RPATH} ${RH_INSTALL_RPATH})
  set_target_properties(${name} PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "${paths}")
endfunction()
