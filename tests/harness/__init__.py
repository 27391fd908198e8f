# SPDX-License-Identifier: Apache-2.0
"""What the wire, fault and e2e suites share: a daemon under test, a raw HTTP client, a metrics reader."""
