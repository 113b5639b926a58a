package model

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hubRepository lays a repository out as huggingface_hub does.
func hubRepository(t *testing.T, cache, folder, revision string, snapshot bool) (dir string) {
	t.Helper()
	repository := filepath.Join(cache, folder)
	dir = filepath.Join(repository, "snapshots", revision)
	made := []string{filepath.Join(repository, "refs")}
	if snapshot {
		made = append(made, dir)
	}
	for _, d := range made {
		if err := os.MkdirAll(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(repository, "refs", "main"), []byte(revision+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestResolveFindsFoldersAndTheHubCache(t *testing.T) {
	folder, cache, old, home, xdg, user := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	const id, stored = "openai/clip-vit", "models--openai--clip-vit"
	inCache := hubRepository(t, cache, stored, "aaa", true)
	inOld := hubRepository(t, old, stored, "bbb", true)
	inHome := hubRepository(t, filepath.Join(home, "hub"), stored, "ccc", true)
	inXDG := hubRepository(t, filepath.Join(xdg, "huggingface", "hub"), stored, "ddd", true)
	inUser := hubRepository(t, filepath.Join(user, ".cache", "huggingface", "hub"), stored, "eee", true)
	for _, c := range []struct{ name, weights, hubCache, oldHubCache, hfHome, xdg, want string }{
		{"a folder", folder, cache, old, home, xdg, folder},
		{"HF_HUB_CACHE comes first", id, cache, old, home, xdg, inCache},
		{"then its older name", id, "", old, home, xdg, inOld},
		{"then HF_HOME", id, "", "", home, xdg, inHome},
		{"then XDG_CACHE_HOME", id, "", "", "", xdg, inXDG},
		{"then the home folder", id, "", "", "", "", inUser},
		{"a tilde", id, "~/.cache/huggingface/hub", "", "", "", inUser},
		{"a variable", id, "", "", "$HOME/.cache/huggingface", "", inUser},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("HF_HUB_CACHE", c.hubCache)
			t.Setenv("HUGGINGFACE_HUB_CACHE", c.oldHubCache)
			t.Setenv("HF_HOME", c.hfHome)
			t.Setenv("XDG_CACHE_HOME", c.xdg)
			t.Setenv("HOME", user)
			if got, err := Resolve(c.weights); err != nil || got != c.want {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// A repository of which one commit was fetched by its hash has no refs; of several, none is the right one.
func TestResolveWithoutRefs(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	dir := hubRepository(t, cache, "models--owner--pinned", "aaa", true)
	if err := os.RemoveAll(filepath.Join(cache, "models--owner--pinned", "refs")); err != nil {
		t.Fatal(err)
	}
	if got, err := Resolve("owner/pinned"); err != nil || got != dir {
		t.Errorf("%q, %v; want %q", got, err, dir)
	}
	if err := os.Mkdir(filepath.Join(filepath.Dir(dir), "bbb"), 0o777); err != nil {
		t.Fatal(err)
	}
	if got, err := Resolve("owner/pinned"); err == nil {
		t.Errorf("one of two snapshots: %q", got)
	}
}

func TestResolveSaysWhatIsWrong(t *testing.T) {
	cache := t.TempDir()
	hubRepository(t, cache, "models--owner--gone", "aaa", false)
	file := filepath.Join(t.TempDir(), "model.safetensors")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HF_HUB_CACHE", cache)
	for weights, want := range map[string][]string{
		file:        {"is a file", "name the folder"},
		"./nowhere": {`no folder "./nowhere"`},
		"/nowhere":  {`no folder "/nowhere"`},
		"/no/where": {`no folder "/no/where"`},
		"nowhere":   {`no folder "nowhere"`},
		"a/b/c":     {`no folder "a/b/c"`},
		"owner/":    {`no folder "owner/"`},
		"owner/name": {`"owner/name" is neither a folder nor in the local hub cache`, cache,
			"hf download owner/name"},
		"owner/gone":       {`"owner/gone" is in the local hub cache, but its snapshot is not`},
		"owner/\x1b[31mxx": {`\x1b[31mxx`},
	} {
		got, err := Resolve(weights)
		if err == nil {
			t.Errorf("%q resolves to %q", weights, got)
			continue
		}
		for _, text := range want {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%q: %q does not say %q", weights, err, text)
			}
		}
	}
}
