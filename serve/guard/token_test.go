package guard

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/llavatrain/llavatrain/runs/failure"
)

func TestKeepToken(t *testing.T) {
	t.Setenv(TokenVariable, "")
	folder := filepath.Join(t.TempDir(), "cache")
	if found, err := FindToken("", folder); found != "" || err != nil {
		t.Fatalf("%q, %v", found, err)
	}
	first, made, err := KeepToken("", folder)
	if err != nil || !made || len(first) < 40 {
		t.Fatalf("%q, %t, %v", first, made, err)
	}
	again, made, err := KeepToken("", folder)
	if err != nil || made || again != first {
		t.Errorf("%q, %t, %v", again, made, err)
	}
	if found, err := FindToken("", folder); found != first || err != nil {
		t.Errorf("%q, %v", found, err)
	}
	info, err := os.Stat(filepath.Join(folder, tokenFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if files, _ := os.ReadDir(folder); len(files) != 1 {
		t.Errorf("%d files are left", len(files))
	}
}

// TestKeepTogether: servers that start at once keep one token.
func TestKeepTogether(t *testing.T) {
	t.Setenv(TokenVariable, "")
	folder := t.TempDir()
	tokens := make([]string, 20)
	var group sync.WaitGroup
	for i := range tokens {
		group.Go(func() {
			token, _, err := KeepToken("", folder)
			if tokens[i] = token; err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, token := range tokens {
		if token != tokens[0] || token == "" {
			t.Fatalf("%q and %q", token, tokens[0])
		}
	}
}

func TestFindToken(t *testing.T) {
	folder := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct{ name, file, env, want, says string }{
		{"file", file("good", "from-file\n", 0o600), "from-env", "from-file", ""},
		{"read-only", file("kept", "from-file", 0o400), "", "from-file", ""},
		{"environment", "", "from-env", "from-env", ""},
		{"others read it", file("open", "secret-text", 0o644), "", "", "chmod 600"},
		{"group reads it", file("group", "secret-text", 0o640), "", "", "chmod 600"},
		{"empty", file("empty", "\n", 0o600), "", "", "is empty"},
		{"two words", file("two", "secret-text b\n", 0o600), "", "", "one word"},
		{"long", file("long", strings.Repeat("secret-text", 100), 0o600), "", "", "more than 512"},
		{"two words in the environment", "", "secret-text b", "", "one word"},
		{"missing", filepath.Join(folder, "no"), "", "", "no such file"},
		{"folder", folder, "", "", "is not a file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(TokenVariable, test.env)
			got, err := FindToken(test.file, t.TempDir())
			if test.says == "" {
				if got != test.want || err != nil {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			if err == nil || !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), test.says) ||
				strings.Contains(err.Error(), "secret-text") {
				t.Errorf("%v", err)
			}
		})
	}
}
