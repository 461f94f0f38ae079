# Two commands: `make demo` and `make test`. Both set up all they need, once. `make lint` is a part
# of `make test`.
#   make demo BAG=path LABELS=path   the same with a recorded bag
#   make demo INDOOR=1            in simulated flats, with an RGB-D camera
#   make demo SET="student.loop.epochs=2 ..."   with other settings
# `make aarch64` runs that test which `make test` skips where there is no emulator: the libraries of an
# aarch64 package, under qemu.
# `make three` makes anew the part of three.js that report.html draws with; it needs npm.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
# The version that the figures in docs/results were measured with.
TORCH := torch==2.13.0
# Half of all that is installed, by setup.py's extras; pip unpacks on one core, so it comes beside torch.
LARGE := open3d pyarrow rerun-sdk
# The compiler of the sparse engine's kernels, and what Open3D and OpenCV load from the system.
LIBRARIES := g++ libgl1 libgomp1 libusb-1.0-0
APT := $(if $(filter 0,$(shell id -u)),,sudo) apt-get
MISSING := $(shell dpkg-query -W -f='$${Status} $${Package}\n' $(LIBRARIES) 2>/dev/null | grep -c "ok installed" | grep -vx $(words $(LIBRARIES)))

# A test that hangs fails and says where; the longest takes a minute.
PYTEST := $(BIN)/python -m pytest --timeout=300 test
# For the test that looks at report.html; where there is no such package, the test is skipped.
BROWSER := $(firstword $(shell command -v chromium chromium-browser google-chrome))
THREE := three@0.187.0
ESBUILD := esbuild@0.28.2
THREE_FOLDER := training/haskd_training/reports/three

# What is imported is compiled once. Images of containers often forbid that: then each process of the
# tests compiles torch and all else anew, 7 s of the 13 that a command's imports take.
export PYTHONDONTWRITEBYTECODE :=

# Tests load torch before the package can say this, see haskd_ros/__init__.py.
export GOMP_SPINCOUNT ?= 1000

.PHONY: demo test not-live live aarch64 lint three clean
.DEFAULT_GOAL := test

demo: $(READY)
	$(BIN)/haskd demo --out demo $(if $(INDOOR),--indoor) $(if $(BAG),--bag "$(BAG)") $(if $(LABELS),--labels "$(LABELS)") $(addprefix --set ,$(SET))

# mypy computes while tests wait for processes that they start.
test: $(READY)
	-$(if $(BROWSER),,$(APT) update && $(APT) install -y --no-install-recommends chromium)
	$(MAKE) --jobs=2 lint not-live
	$(MAKE) live

# Two processes have a core each: more threads only wait for each other. Files marked `long` begin first.
not-live: $(READY)
	OMP_NUM_THREADS=1 $(PYTEST) -m "not live" --numprocesses 2 --dist loadfile \
		--no-loadscope-reorder

# A live node is timed by the clouds that it is sent: not beside trainings. It mostly waits, so that
# two at a time leave each other their time.
live: $(READY)
	$(PYTEST) -m live --numprocesses 2 --dist loadfile

aarch64: $(READY)
	$(APT) update && $(APT) install -y --no-install-recommends g++-aarch64-linux-gnu qemu-user
	$(BIN)/python -m pytest test/ros/native/test_aarch64.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

three:
	npm install --prefix build/three --no-save --no-package-lock $(THREE) $(ESBUILD)
	NODE_PATH=build/three/node_modules build/three/node_modules/.bin/esbuild $(THREE_FOLDER)/entry.js \
		--bundle --minify --format=iife --global-name=THREE --legal-comments=none \
		--outfile=$(THREE_FOLDER)/three.min.js
	cp build/three/node_modules/three/LICENSE $(THREE_FOLDER)/LICENSE

# Most of what comes is never imported: compiling all of it takes a minute and a half.
$(READY): setup.py haskd_ros/__init__.py Makefile
	$(if $(MISSING),$(APT) update && $(APT) install -y --no-install-recommends $(LIBRARIES))
	$(PYTHON) -m venv $(VENV) || ($(APT) install -y --no-install-recommends python3-venv && $(PYTHON) -m venv --clear $(VENV))
	$(BIN)/python -m pip install --quiet --no-compile --no-deps $(LARGE) & \
		$(BIN)/python -m pip install --quiet --no-compile $(TORCH) setuptools && wait $$!
	$(BIN)/python -m pip install --quiet --no-compile --no-build-isolation -e '.[training,ros-wheels,test]'
	touch $@

clean:
	rm -rf $(VENV) demo
