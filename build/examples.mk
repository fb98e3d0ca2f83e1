# The examples, each as an application library.

EXAMPLE_NAMES := hello guestbook stream showcase
EXAMPLES := $(EXAMPLE_NAMES:%=$(OUT)/examples/%.so)

# Everything that goes into a library: Go and C of this repository, and the
# files that the examples embed.
LIBRARY_SOURCES := go.mod go.sum examples/go.mod examples/go.sum \
	cshim/gsgi.h $(filter-out %_test.go,$(shell find goapp module cshim \
	$(addprefix examples/,$(EXAMPLE_NAMES)) -name '*.go' -o \
	-path 'examples/*/*/*.*' -o -path 'goapp/wsgi/*.[ch]' -o \
	-path 'goapp/wsgi/*.py' -o -path 'cshim/*.[ch]' \
	-not -path 'cshim/host/*' 2>/dev/null))

$(EXAMPLES): $(OUT)/examples/%.so: $(LIBRARY_SOURCES) $(OUT)/go-version
	@echo "building $@"
	@cd examples && ../$(GO_RUN) build -buildmode=c-shared \
	    -o ../$(OUT)/examples/new-$*/$*.so ./$*
	@mv $(OUT)/examples/new-$*/$*.so $@
	@rm -r $(OUT)/examples/new-$*

# Changes when another Go is used.
$(OUT)/go-version: always | $(PACKAGES_STAMP)
	@$(GO_RUN) env GOVERSION GOARCH > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
