package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	module = "vifplug"
	root   = "../.."
)

// file is one Go file of the module, whatever its build tags say.
type file struct {
	path    string // from the root
	dir     string
	room    string // the first folder: "hotplug", "cmd", "test"
	test    bool
	text    string
	ast     *ast.File
	imports []string
}

// support says that a file is for tests, though not a test: it lies in test/, or in a package like xenstoretest.
func (f file) support() bool { return f.room == "test" || strings.HasSuffix(f.dir, "test") }

// product says that a file goes into what is installed.
func (f file) product() bool { return !f.test && !f.support() }

func (f file) at(p token.Pos) string {
	return f.path + ":" + strconv.Itoa(fileSet.Position(p).Line)
}

// line is the text of the line of a position.
func (f file) line(p token.Pos) string {
	return strings.Split(f.text, "\n")[fileSet.Position(p).Line-1]
}

var fileSet = token.NewFileSet()

// skipped says that a folder is none of the module's own.
func skipped(name string) bool {
	return name == "bin" || name == "testdata" || strings.HasPrefix(name, ".") && name != ".ci"
}

// each calls do with every file of the repository whose name ends so; its path is from the root.
func each(suffix string, do func(path string, text []byte) error) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && skipped(d.Name()) {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() || !strings.HasSuffix(path, suffix) || d.Name() == ".git" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return do(filepath.ToSlash(rel), text)
	})
}

var parsed = sync.OnceValues(func() (out []file, err error) {
	err = each(".go", func(path string, text []byte) error {
		f := file{path: path, text: string(text), test: strings.HasSuffix(path, "_test.go")}
		f.dir = filepath.ToSlash(filepath.Dir(path))
		f.room, _, _ = strings.Cut(path, "/")
		var err error
		if f.ast, err = parser.ParseFile(fileSet, path, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		for _, i := range f.ast.Imports {
			f.imports = append(f.imports, strings.Trim(i.Path.Value, `"`))
		}
		out = append(out, f)
		return nil
	})
	return out, err
})

// files are all Go files of the module.
func files(t *testing.T) []file {
	t.Helper()
	out, err := parsed()
	require.NoError(t, err)
	require.Greater(t, len(out), 100, "the module's files were not found")
	return out
}

// read gives a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(b)
}

// under says whether a package or folder is one, or lies below it.
func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// underAny is under for some.
func underAny(path string, dirs []string) bool {
	for _, d := range dirs {
		if under(path, d) {
			return true
		}
	}
	return false
}
