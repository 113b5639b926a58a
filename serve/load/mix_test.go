package load

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// uri is the picture of a question, "" for none.
func uri(t *testing.T, q question) string {
	var body struct {
		Messages []struct{ Content json.RawMessage }
	}
	if err := json.Unmarshal(q.body, &body); err != nil {
		t.Fatal(err)
	}
	var parts []struct {
		URL struct{ URL string } `json:"image_url"`
	}
	if json.Unmarshal(body.Messages[0].Content, &parts) != nil {
		return ""
	}
	return parts[0].URL.URL
}

func TestPictures(t *testing.T) {
	folder := t.TempDir()
	for name, content := range map[string]string{"a.gif": "GIF89a one", "b.gif": "GIF89a two", "c.txt": "text"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(folder, "d.gif"), 0o777); err != nil {
		t.Fatal(err)
	}
	for picture, others := range map[string]int{New: 6, Same: 1, folder: 2} {
		s := usual("")
		s.Share, s.Picture = 1, picture
		m, err := newMix(s)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for i := range 6 {
			q := m.question(i)
			if again := m.question(i); !bytes.Equal(q.body, again.body) || q.pictures != 1 {
				t.Errorf("%s: question %d differs", picture, i)
			}
			seen[uri(t, q)] = true
		}
		if len(seen) != others {
			t.Errorf("%s: %d pictures, want %d", picture, len(seen), others)
		}
		for one := range seen {
			file, err := base64.StdEncoding.DecodeString(one[strings.Index(one, ",")+1:])
			if err != nil {
				t.Fatal(err)
			}
			if picture == folder {
				if !strings.HasPrefix(one, "data:image/gif;base64,") || !bytes.HasPrefix(file, []byte("GIF89a ")) {
					t.Errorf("picture %q", one)
				}
			} else if drawn, _, err := image.Decode(bytes.NewReader(file)); err != nil || drawn.Bounds().Dx() != 20 ||
				!strings.HasPrefix(one, "data:image/jpeg;base64,") {
				t.Errorf("picture %v, %v", one, err)
			}
		}
	}
}

func TestNoPictures(t *testing.T) {
	empty := t.TempDir()
	big := t.TempDir()
	file, err := os.Create(filepath.Join(big, "a.gif"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.Truncate(maxFiles+1), file.Close()); err != nil {
		t.Fatal(err)
	}
	for picture, want := range map[string]string{
		empty: "there is no picture in ", big: "more than 1 GB",
		filepath.Join(empty, "none"): "must be new, same or a folder",
	} {
		s := usual("")
		s.Share, s.Picture = 1, picture
		if _, err := newMix(s); !errors.Is(err, failure.ErrInput) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", picture, err)
		}
	}
	s := usual("")
	s.Picture = empty
	if m, err := newMix(s); err != nil || uri(t, m.question(0)) != "" {
		t.Errorf("a mix without pictures: %v", err)
	}
}

// Of any number of requests the share has a picture, and the text is as long as was asked for.
func TestShare(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := usual("")
		s.Share = rapid.Float64Range(0, 1).Draw(r, "share")
		s.Size, s.Seed = 1, rapid.Uint64().Draw(r, "seed")
		m, n, with := mix{Settings: s}, rapid.IntRange(1, 40).Draw(r, "n"), 0
		for i := range n {
			with += m.question(i).pictures
		}
		if want := int(s.Share * float64(n)); with != want {
			r.Errorf("%d of %d requests have a picture, want %d", with, n, want)
		}
	})
}
