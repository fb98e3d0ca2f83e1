package wsgi

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestCollector: Python's collector hardly looks at what an import makes, and
// is afterwards as the application would find it elsewhere.
func TestCollector(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(python, "-c", "import gc, json; print(json.dumps(gc.get_threshold()), end='')").Output()
	if err != nil {
		t.Fatal(err)
	}
	usual := regexp.QuoteMeta(string(out))
	for _, c := range []struct{ name, env, want string }{
		{"default", "DEFAULT=1", `{"few": true, "frozen": false, "old": true, "threshold": ` + usual + `}`},
		{"thresholds of its own", "OWN=900", `"few": false.*"threshold": \[900, 20, `},
		{"high ones of its own", "OWN=100000", `"few": true.*"threshold": \[100000, 20, `},
		{"frozen", "FREEZE=1", `"few": true, "frozen": true.*"threshold": ` + usual},
	} {
		for _, lazy := range []string{"", " --lazy"} {
			t.Run(c.name+lazy, func(t *testing.T) {
				t.Parallel()
				s := launch(t, nginx, setup{args: "imports --chdir @APPS@" + lazy, env: []string{c.env}})
				if a := s.get("/"); !regexp.MustCompile(c.want).MatchString(a.body) {
					t.Errorf("%d %s (%v)\nand not\n%s", a.status, a.body, a.err, c.want)
				}
			})
		}
	}
}

// TestBytecode: what Python reads its modules from is what it would be
// elsewhere, also where they cannot be read.
func TestBytecode(t *testing.T) {
	place := filepath.Join(world.dir, "bytecode")
	compile := "import os, py_compile, sys\n" +
		"os.makedirs('directory.pyc')\n" +
		"open('empty.pyc', 'w')\n" +
		"for name in 'sourceless', 'unreadable':\n" +
		"    with open(name + '.py', 'w') as f:\n" +
		"        f.write('value = %r' % name)\n" +
		"py_compile.compile('sourceless.py', 'sourceless.pyc')\n" +
		"os.remove('sourceless.py')\n" +
		"os.chmod(py_compile.compile('unreadable.py'), 0)\n"
	cmd := exec.Command(python, "-c", compile)
	cmd.Dir = place
	if err := os.Mkdir(place, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := `{"audited": 2, "directory": ["IsADirectoryError", true], "empty": ["BufferedReader", true], ` +
		`"missing": ["FileNotFoundError", true], "py": ["BufferedReader", true], "pyc": ["BytesIO", true], ` +
		`"sourceless": "sourceless", "unreadable": "unreadable"}`
	each(t, setup{args: "imports --chdir @APPS@", env: []string{"PLACE=@SHARE@/bytecode"}}, func(t *testing.T, s *server) {
		s.want("/code", 200, want)
	})
}
