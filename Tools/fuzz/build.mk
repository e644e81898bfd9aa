# Builds the fuzzer, .build/fuzz/fuzz: every module once, and only what has changed. What others import (.swiftmodule) is
# made apart from what is linked (.o), and without looking into functions, because that takes a second and the other half
# a minute: so all cores work.

build := .build/fuzz
flags := -wmo -assert-config Debug -enable-testing -parse-as-library -swift-version 6 -suppress-warnings \
  -package-name hotaru -enable-experimental-feature Lifetimes -enable-experimental-feature Extern -enable-experimental-feature RawLayout \
  -I $(build) $(addprefix -I Sources/System/,CSodium CChecksum CLZ4 CLinux) -Xcc -D_GNU_SOURCE
# The tests' values are not what is to be covered.
covered := -sanitize=fuzzer
declared := -Onone -Xfrontend -experimental-skip-non-inlinable-function-bodies-without-types
# $(call apart,NAME,FILE): the counters of a module get names of their own, see coverage.c.
apart = objcopy --rename-section __sancov_cntrs=counters_$(1) --rename-section __sancov_pcs=places_$(1) $(2)

modules :=
# $(call module,NAME,FILES,MODULES BELOW,FLAGS)
define module
modules += $(1)
$(build)/$(1).swiftmodule: $(2) $(3:%=$(build)/%.swiftmodule) Tools/fuzz/build.mk
	@mkdir -p $(build)
	swiftc $(flags) $(declared) -module-name $(1) -emit-module -emit-module-path $$@ $(2)
$(build)/$(1).o: $(2) $(3:%=$(build)/%.swiftmodule) Tools/fuzz/build.mk
	@mkdir -p $(build)
	swiftc $(flags) -O $(4) -module-name $(1) -c -o $$@.new $(2)
	$(call apart,$(1),$$@.new)
	@mv $$@.new $$@
endef
room = $(eval $(call module,$(1),$(wildcard Sources/$(1)/*.swift),$(2),$(covered)))
emulator = $(eval $(call module,FlashEmulator,$(wildcard Tools/FlashEmulator/*.swift),$(1),))
values = $(eval $(call module,$(1),$(addprefix Tests/$(1)/,$(2)),$(3),))

$(call room,Wire,)
$(call room,Identity,Wire)
$(call room,Coding,Wire Identity)
$(call room,DAG,Wire Identity)
$(call room,Store,Wire Identity)
$(call room,Mesh,Wire Identity)
$(call room,Node,Wire Identity Coding DAG Store Mesh)
$(call room,Host,Wire Identity Node)
$(call room,Client,Wire Identity Host)
$(call emulator,Wire Store)
$(call values,WireTests,Bytes.swift Goldens.swift Samples.swift Recoding.swift,Wire)
$(call values,StoreTests,Records.swift VersionOneImage.swift VersionTwoImage.swift,Wire Identity Store)
$(call values,MeshTests,Support.swift,Wire Identity Mesh)
$(call values,NodeTests,VirtualMesh.swift,Wire Identity DAG Store Mesh Node FlashEmulator)

$(build)/fuzz.o: $(wildcard Tools/fuzz/*.swift) $(modules:%=$(build)/%.swiftmodule)
	swiftc $(flags) -O $(covered) -module-name fuzz -c -o $@.new $(wildcard Tools/fuzz/*.swift)
	$(call apart,fuzz,$@.new)
	@mv $@.new $@
$(build)/coverage.o: Tools/fuzz/coverage.c
	clang -O2 -Wall -Wextra -c -o $@ $<
$(build)/fuzz: $(build)/fuzz.o $(build)/coverage.o $(modules:%=$(build)/%.o)
	swiftc -sanitize=fuzzer -o $@ $^ -lsodium -llz4
