package house

import (
	"go/ast"
	"go/token"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// longest is how many lines a file may have: what is longer has two subjects.
const longest = 600

func TestFilesAreShort(t *testing.T) {
	for _, f := range files(t) {
		assert.LessOrEqual(t, strings.Count(f.text, "\n"), longest, f.path)
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	documented, first := map[string]bool{}, map[string]file{}
	for _, f := range files(t) {
		if !f.test {
			documented[f.dir] = documented[f.dir] || f.ast.Doc.Text() != ""
			first[f.dir] = f
		}
	}
	for dir, ok := range documented {
		assert.True(t, ok, "%s has no package comment", dir)
	}
	for dir, f := range first {
		for _, g := range files(t) {
			if doc := g.ast.Doc.Text(); g.dir == dir && !g.test && doc != "" {
				want := "Package " + f.ast.Name.Name + " "
				if f.ast.Name.Name == "main" {
					want = "Command "
				}
				assert.True(t, strings.HasPrefix(doc, want), "%s: the package comment begins %q", g.path, want)
			}
		}
	}
}

// Whatever others may use says what it is. A group of constants or variables may say it once, at its head or beside each.
func TestExportedIsDocumented(t *testing.T) {
	for _, f := range files(t) {
		if f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) && !telling[d.Name.Name] {
					assert.NotEmpty(t, d.Doc.Text(), "%s: %s has no comment", f.at(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					for _, n := range undocumented(d, s) {
						t.Errorf("%s: %s has no comment", f.at(s.Pos()), n)
					}
				}
			}
		}
	}
}

// telling are methods whose names are defined elsewhere and say everything.
var telling = map[string]bool{"Error": true, "String": true, "Unwrap": true, "Is": true, "Len": true, "Less": true, "Swap": true, "Write": true}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	e := d.Recv.List[0].Type
	if s, ok := e.(*ast.StarExpr); ok {
		e = s.X
	}
	if i, ok := e.(*ast.IndexExpr); ok {
		e = i.X
	}
	i, ok := e.(*ast.Ident)
	return !ok || i.IsExported()
}

// undocumented are the exported names of a declaration that no comment speaks of.
func undocumented(d *ast.GenDecl, s ast.Spec) (out []string) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && d.Doc.Text() == "" && s.Doc.Text() == "" {
			out = append(out, s.Name.Name)
		}
	case *ast.ValueSpec:
		if d.Doc.Text() != "" || s.Doc.Text() != "" || s.Comment.Text() != "" {
			return nil
		}
		for _, n := range s.Names {
			if n.IsExported() {
				out = append(out, n.Name)
			}
		}
	}
	return out
}

// A goroutine has a name, so that a dump of a process says what each is for. What is started begins with run.
var anonymous = map[string]string{
	"xenstore/xenstoretest/start.go": "one call, joined by the test's cleanup",
	"hotplug/queue_test.go":          "a bubble of synctest, which joins it",
	"test/dom0/script_test.go":       "one call, joined below",
}

func TestGoroutinesHaveNames(t *testing.T) {
	for _, f := range files(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			g, ok := n.(*ast.GoStmt)
			if !ok {
				return true
			}
			called := name(g.Call.Fun)
			called = called[strings.LastIndex(called, ".")+1:]
			if anonymous[f.path] != "" && called == "" {
				return true
			}
			assert.Regexp(t, "^[rR]un", called, "%s: go is for functions called run…", f.at(g.Pos()))
			return true
		})
	}
}

// sleepers wait without a test's help, and why they may.
var sleepers = map[string]string{
	"qemu/xsk/socket_linux.go": "a queue is free a moment after its last socket was closed, and the kernel tells nobody",
	"hotplug/ask/ask.go":       "vif-plug waits for a daemon that systemd is just starting, and has nothing to be woken by",
}

// Sleeping is neither a way to wait for another (it is too long or too short) nor can it be cancelled. It is right between two questions to
// something that does not tell, which a comment on its line says, and in the virtual time of synctest.
func TestNobodySleeps(t *testing.T) {
	for _, f := range files(t) {
		var bubbles []ast.Node
		ast.Inspect(f.ast, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch name(c.Fun) {
			case "synctest.Test":
				bubbles = append(bubbles, c)
			case "time.Sleep":
				assert.True(t, maySleep(f, c, bubbles), "%s: time.Sleep without a comment that says why", f.at(c.Pos()))
			}
			return true
		})
	}
}

func maySleep(f file, c *ast.CallExpr, bubbles []ast.Node) bool {
	for _, b := range bubbles {
		if b.Pos() < c.Pos() && c.End() < b.End() {
			return true
		}
	}
	return sleepers[f.path] != "" || !f.product() && commented.MatchString(f.line(c.Pos()))
}

var commented = regexp.MustCompile(`time\.Sleep\(.*\) +// [a-z]`)

// A goroutine that a test leaves behind is a goroutine that the service would leave behind.
func TestLeaksAreFailures(t *testing.T) {
	tested, guarded := map[string]bool{}, map[string]bool{}
	for _, f := range files(t) {
		if f.test {
			tested[f.dir] = true
			guarded[f.dir] = guarded[f.dir] || strings.Contains(f.text, "goleak.VerifyTestMain(m")
		}
	}
	for dir := range tested {
		assert.True(t, guarded[dir], "%s: want a TestMain with goleak.VerifyTestMain", dir)
	}
}

// In CI nothing may be missing: who skips asks whether this is CI.
func TestSkipsFailInCI(t *testing.T) {
	for _, f := range files(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			d, ok := n.(*ast.FuncDecl)
			if !ok {
				return true
			}
			if skip := skipsIn(d); skip != token.NoPos {
				body := f.text[fileSet.Position(d.Pos()).Offset:fileSet.Position(d.End()).Offset]
				assert.Contains(t, body, "VIFPLUG_CI", "%s: a skip that CI would not notice", f.at(skip))
			}
			return false
		})
	}
}

func skipsIn(d *ast.FuncDecl) (at token.Pos) {
	ast.Inspect(d, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			switch name(c.Fun) {
			case "t.Skip", "t.Skipf", "t.SkipNow", "b.Skip", "f.Skip":
				at = c.Pos()
			}
		}
		return true
	})
	return at
}
