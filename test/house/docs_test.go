package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/network"
	"vifplug/hotplug"
	"vifplug/hotplug/config"
)

// constants are the values of a package's string constants of a type.
func constants(t *testing.T, dir, kind string) (out []string) {
	t.Helper()
	walk(t, dir, func(n ast.Node) {
		s, ok := n.(*ast.ValueSpec)
		if !ok || s.Type == nil || name(s.Type) != kind {
			return
		}
		for _, v := range s.Values {
			if l, ok := v.(*ast.BasicLit); ok {
				out = append(out, unquoted(t, l))
			}
		}
	})
	require.NotEmpty(t, out, "%s has no constants of type %s any more", dir, kind)
	sort.Strings(out)
	return out
}

// walk visits every node of a package's product files.
func walk(t *testing.T, dir string, visit func(ast.Node)) {
	t.Helper()
	for _, f := range files(t) {
		if f.dir == dir && f.product() {
			ast.Inspect(f.ast, func(n ast.Node) bool { visit(n); return true })
		}
	}
}

func unquoted(t *testing.T, l *ast.BasicLit) string {
	t.Helper()
	s, err := strconv.Unquote(l.Value)
	require.NoError(t, err)
	return s
}

// section is what stands below a document's heading, up to the next one.
func section(t *testing.T, path, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(read(t, path), "\n"+heading+"\n")
	require.True(t, found, "%s has no heading %q", path, heading)
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

var quoted = regexp.MustCompile("`([^`]+)`")

// cells are what is quoted in a column of the tables of a text, sorted and each once.
func cells(text string, column int) (out []string) {
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		parts := strings.Split(line, "|")
		if !strings.HasPrefix(line, "|") || len(parts) <= column {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(parts[column], -1) {
			if !seen[m[1]] {
				out = append(out, m[1])
			}
			seen[m[1]] = true
		}
	}
	sort.Strings(out)
	return out
}

// An operator who has a code finds what to do.
func TestEveryReasonHasItsParagraph(t *testing.T) {
	assert.Equal(t, constants(t, "hotplug", "Code"), cells(read(t, "docs/troubleshooting.md"), 1))
}

func TestEveryEventIsDocumented(t *testing.T) {
	assert.Equal(t, constants(t, "hotplug", "Kind"), cells(section(t, "docs/api.md", "## An event"), 1))
}

func TestEveryStateIsDocumented(t *testing.T) {
	line := regexp.MustCompile("`state` is one of ([^(]*)").FindStringSubmatch(read(t, "docs/api.md"))
	require.NotNil(t, line)
	var api []string
	for _, m := range quoted.FindAllStringSubmatch(line[1], -1) {
		api = append(api, m[1])
	}
	var all []string
	for s := hotplug.Seen; s <= hotplug.Failed; s++ {
		all = append(all, s.String())
	}
	assert.Equal(t, all, api, "docs/api.md")
	sort.Strings(all)
	assert.Equal(t, all, cells(read(t, "docs/concepts.md"), 1), "docs/concepts.md")
}

var pathValue = regexp.MustCompile(`\{([a-z]+)\}`)

func TestEveryRouteIsDocumented(t *testing.T) {
	routes := map[string]bool{}
	walk(t, "hotplug/control", func(n ast.Node) {
		c, ok := n.(*ast.CallExpr)
		if !ok || len(c.Args) == 0 || !strings.HasSuffix(name(c.Fun), ".HandleFunc") {
			return
		}
		l, ok := c.Args[0].(*ast.BasicLit)
		require.True(t, ok, "a route that this test cannot read")
		routes[pathValue.ReplaceAllStringFunc(unquoted(t, l), func(s string) string { return strings.ToUpper(s[1 : len(s)-1]) })] = true
	})
	require.NotEmpty(t, routes)
	documented := map[string]bool{}
	for _, r := range cells(read(t, "docs/api.md"), 1) {
		if r, _, _ = strings.Cut(r, "?"); slices.Contains([]string{"GET", "POST", "DELETE"}, strings.SplitN(r, " ", 2)[0]) {
			documented[r] = true
		}
	}
	assert.Equal(t, routes, documented)
}

// keys are what a configuration file may say: the toml names of the struct that it is read into.
func keys(t *testing.T) (out []string) {
	t.Helper()
	walk(t, "hotplug/config", func(n ast.Node) {
		if s, ok := n.(*ast.TypeSpec); ok && s.Name.Name == "document" {
			out = append(out, leaves(t, s.Type.(*ast.StructType), "")...)
		}
	})
	require.NotEmpty(t, out, "hotplug/config has no struct document any more")
	sort.Strings(out)
	return out
}

func leaves(t *testing.T, s *ast.StructType, prefix string) (out []string) {
	t.Helper()
	for _, f := range s.Fields.List {
		require.NotNil(t, f.Tag, "a field of the configuration without a name")
		key, _, _ := strings.Cut(reflect.StructTag(unquoted(t, f.Tag)).Get("toml"), ",")
		if inner, ok := f.Type.(*ast.StructType); ok {
			out = append(out, leaves(t, inner, prefix+key+".")...)
			continue
		}
		out = append(out, prefix+key)
	}
	return out
}

// Both documents list every key, and what each calls the default is it: a file that says so changes nothing, and one that says something else
// for all of them changes everything.
func TestEveryKeyIsDocumentedWithItsDefault(t *testing.T) {
	reference, page := map[string]string{}, map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z.-]+)` \\| `([^`]*)` \\|").FindAllStringSubmatch(section(t, "docs/reference.md", "## Configuration"), -1) {
		reference[m[1]] = m[2]
	}
	for _, m := range regexp.MustCompile(`(?m)^\*\*([a-z.-]+)\*\* = (.*)$`).FindAllStringSubmatch(read(t, "docs/man/vifplug.toml.5.md"), -1) {
		page[m[1]] = m[2]
	}
	assert.Equal(t, reference, page, "docs/reference.md and the man page differ")
	var listed []string
	for k, v := range reference {
		listed = append(listed, k)
		assert.Equal(t, load(t, ""), load(t, k+" = "+v+"\n"), "the default of %s is not %s", k, v)
	}
	sort.Strings(listed)
	assert.Equal(t, keys(t), listed)
}

// load reads a configuration of one file.
func load(t *testing.T, text string) config.Config {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, config.MainFile), []byte(text), 0o600))
	c, err := config.Load(dir)
	require.NoError(t, err, text)
	return c
}

// The judge above sees a wrong default.
func TestDefaultsAreTold(t *testing.T) {
	for _, other := range []string{
		`hotplug.bridge-wait = "29s"`, `hotplug.netdev-wait = "11s"`, `hotplug.legacy-bridge-names = true`, `hotplug.leave-scripts = []`, `hotplug.path = "bridge"`,
		`hotplug.guard = "mac"`, `control.readers = "adm"`,
	} {
		assert.NotEqual(t, load(t, ""), load(t, other), other)
	}
}

var option = regexp.MustCompile(`--[a-z][a-z-]*`)

// vifplugd's flags stand in its help, and those of the help in the man page.
func TestEveryFlagIsDocumented(t *testing.T) {
	const own = "error-text" // vif-plug tells vifplugd --once what libxl shall be told: between the two
	help, page := "", read(t, "docs/man/vifplugd.8.md")
	var flags []string
	walk(t, "cmd/vifplugd", func(n ast.Node) {
		switch n := n.(type) {
		case *ast.ValueSpec:
			if n.Names[0].Name == "help" {
				help = unquoted(t, n.Values[0].(*ast.BasicLit))
			}
		case *ast.CallExpr:
			if strings.HasPrefix(name(n.Fun), "fs.") && strings.HasSuffix(name(n.Fun), "Var") {
				flags = append(flags, unquoted(t, n.Args[1].(*ast.BasicLit)))
			}
		}
	})
	require.NotEmpty(t, help)
	require.NotEmpty(t, flags)
	for _, f := range flags {
		if f != own {
			assert.Contains(t, option.FindAllString(help, -1), "--"+f, "the help")
		}
	}
	for _, f := range option.FindAllString(help, -1) {
		assert.Contains(t, option.FindAllString(page, -1), f, "the man page")
		assert.Contains(t, flags, f[2:], "the help names what is none")
	}
}

// What the programs read from their environment stands in the reference.
func TestEveryVariableIsDocumented(t *testing.T) {
	text, variable := read(t, "docs/reference.md"), regexp.MustCompile(`^(VIFPLUG|XENSTORED)_[A-Z_]+$|^NO_COLOR$`)
	for _, f := range files(t) {
		if !f.product() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING && variable.MatchString(unquoted(t, l)) {
				assert.True(t, strings.Contains(text, "`"+unquoted(t, l)+"`"), "%s: docs/reference.md does not name %s", f.at(l.Pos()), l.Value)
			}
			return true
		})
	}
}

// What a document points at is there.
func TestDocumentsPointAtWhatIsThere(t *testing.T) {
	link, mention := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`), regexp.MustCompile(`docs/[a-z/.0-9-]+\.md`)
	for _, suffix := range []string{".md", ".go", "Makefile"} {
		require.NoError(t, each(suffix, func(path string, text []byte) error {
			for _, m := range mention.FindAllString(string(text), -1) {
				assert.FileExists(t, filepath.Join(root, m), "%s speaks of it", path)
			}
			if suffix != ".md" {
				return nil
			}
			for _, m := range link.FindAllStringSubmatch(string(text), -1) {
				_, err := os.Stat(filepath.Join(root, filepath.Dir(path), m[1]))
				assert.NoError(t, err, "%s links it", path)
			}
			return nil
		}))
	}
}

// Every build tag of the module's own is linted: what is not built by default is not looked at by default.
func TestLintCoversEveryBuildTag(t *testing.T) {
	makefile := read(t, "Makefile")
	_, lint, found := strings.Cut(makefile, "\nlint:")
	require.True(t, found)
	lint, _, _ = strings.Cut(lint, "\n\n")
	constraint := regexp.MustCompile(`(?m)^//go:build (.*)$`)
	tags := map[string]string{}
	for _, f := range files(t) {
		for _, m := range constraint.FindAllStringSubmatch(f.text, -1) {
			for _, tag := range regexp.MustCompile(`[a-z0-9_]+`).FindAllString(m[1], -1) {
				tags[tag] = f.path
			}
		}
	}
	for _, known := range []string{"linux", "race"} {
		delete(tags, known)
	}
	assert.Contains(t, tags, "xen")
	for tag, path := range tags {
		for _, tool := range []string{"vet", "run $(STATICCHECK)"} {
			want := fmt.Sprintf("$(GO) %s -tags %s ./...", tool, tag)
			assert.Contains(t, lint, want, "make lint passes over %s", path)
		}
	}
	for _, tool := range []string{"$(GO) vet ./...", "$(GO) run $(STATICCHECK) ./...", "$(GO) run $(GOFUMPT) -l ."} {
		assert.Contains(t, lint, tool)
	}
}

// What the kernel of the machine at hand may lack, the lab's must have. So the lab runs every package that asks there, whole: a choice of tests would
// leave out the next one.
func TestTheLabRunsWhatNeedsItsKernel(t *testing.T) {
	_, lab, found := strings.Cut(read(t, "Makefile"), "\ntest-xen:")
	require.True(t, found)
	lab, _, _ = strings.Cut(lab, "\n\n")
	asks := map[string]bool{}
	require.NoError(t, each("_test.go", func(path string, text []byte) error {
		if dir := filepath.Dir(path); dir != "test/house" && strings.Contains(string(text), `Getenv("XENVM")`) {
			asks["./"+dir] = true
		}
		return nil
	}))
	assert.GreaterOrEqual(t, len(asks), 3)
	for line := range strings.Lines(lab) {
		for _, word := range strings.Fields(line) {
			if asks[word] {
				assert.NotRegexp(t, " -(run|skip) ", line)
				delete(asks, word)
			}
		}
	}
	assert.Empty(t, asks, "make test-xen leaves them out")
}

// The keys of bonds and networks, with what they take, their defaults and their meanings, stand in both documents as the one table has them.
func TestEveryNetworkKeyIsDocumented(t *testing.T) {
	reference, page := read(t, "docs/reference.md"), read(t, "docs/man/vifplug.toml.5.md")
	plain := strings.ReplaceAll(reference, "`", "")
	var table, prose strings.Builder
	for _, k := range network.Keys() {
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", k.Name, k.Want, k.Default, k.Text)
		fmt.Fprintf(&prose, "**%s** (default: %s)\n: %s. Takes %s.\n\n", k.Name, k.Default, k.Text, k.Want)
	}
	for line := range strings.Lines(table.String()) {
		assert.Contains(t, plain, strings.ReplaceAll(line, "`", ""), "docs/reference.md")
	}
	for paragraph := range strings.SplitSeq(strings.TrimSpace(prose.String()), "\n\n") {
		assert.Contains(t, page, paragraph, "the man page")
	}
	documented := regexp.MustCompile("(?m)^\\| `((?:bond|network)\\.[a-z0-9-]+)`").FindAllString(reference, -1)
	assert.Len(t, documented, len(network.Keys()), "docs/reference.md has keys that are none")
}
