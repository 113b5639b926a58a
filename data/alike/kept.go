package alike

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/picture"
)

// Hashes hashes the pictures of a folder or archive, each file once. What it found is kept in the user's cache, where
// the next run finds it: decoding takes a hundred times as long as everything else here. It is safe for concurrent use.
type Hashes struct {
	images *picture.Images
	file   string // in the cache; "" if there is no place for one

	mu      sync.Mutex
	known   map[string]keptHash // by path, or by the digest of a file that is in the row itself
	changed bool
}

// keptHash is the hash of a file, and the stamp that the file had.
type keptHash struct {
	Stamp int64 `json:"stamp"` // by picture.Images.Stamp; 0 for what cannot change alone
	Hash  Hash  `json:"hash"`
}

// hashVersion changes with the rule of HashOf and with the pixels that files decode to.
const hashVersion = "1"

// OpenHashes reads what is kept about images, which were opened from path with options.
func OpenHashes(images *picture.Images, path string, options picture.Options) *Hashes {
	h := &Hashes{images: images, known: map[string]keptHash{}}
	dir, err := checkpoints.CacheFolder()
	if err != nil {
		return h
	}
	if full, err := filepath.Abs(path); err == nil {
		path = full
	}
	place := fmt.Sprintln(hashVersion, path, picture.ArchiveStamps(path), options.MaxPixels, options.Orientation)
	name := sha256.Sum256([]byte(place))
	h.file = filepath.Join(dir, "alike", hex.EncodeToString(name[:16])+".json")
	text, err := os.ReadFile(h.file)
	if err != nil || json.Unmarshal(text, &h.known) != nil || h.known == nil {
		h.known = map[string]keptHash{} // none is kept yet, or not by this program
	}
	return h
}

// Name is the same for images that are the same file: its path from the folder, or a digest of a file that is in the
// row itself.
func (h *Hashes) Name(image picture.Image) string {
	name, _ := h.nameOf(image)
	return name
}

// Of is the hash of a row's image, which must not be prepared. Errors are those of [picture.Images.Decode].
func (h *Hashes) Of(image picture.Image) (Hash, error) {
	name, stamp := h.nameOf(image)
	if known, ok := h.look(name, stamp); ok {
		return known, nil
	}
	img, err := h.images.Decode(image)
	if err != nil {
		return Hash{}, err
	}
	return h.put(name, stamp, img), nil
}

// Decode decodes an image and keeps its hash, for callers that need the pixels as well.
func (h *Hashes) Decode(image picture.Image) (*picture.RGB, error) {
	name, stamp := h.nameOf(image)
	img, err := h.images.Decode(image)
	if err != nil {
		return nil, err
	}
	if _, ok := h.look(name, stamp); !ok {
		h.put(name, stamp, img)
	}
	return img, nil
}

// nameOf is an image's name and stamp. The stamp is taken before the file is read: a change in between makes the next
// run read it again.
func (h *Hashes) nameOf(image picture.Image) (string, int64) {
	if image.File != nil {
		sum := sha256.Sum256(image.File)
		return "sha256:" + hex.EncodeToString(sum[:]), 0
	}
	name := h.images.Local(image.Path)
	return name, h.images.Stamp(name)
}

func (h *Hashes) look(name string, stamp int64) (Hash, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, ok := h.known[name]
	return known.Hash, ok && known.Stamp == stamp
}

func (h *Hashes) put(name string, stamp int64, img *picture.RGB) Hash {
	hash := HashOf(img)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known[name], h.changed = keptHash{stamp, hash}, true
	return hash
}

// Keep saves the hashes for the next run. A cache that cannot be written is not an error.
func (h *Hashes) Keep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == "" || !h.changed || os.MkdirAll(filepath.Dir(h.file), 0o777) != nil {
		return
	}
	if text, err := json.Marshal(h.known); err == nil && checkpoints.ReplaceFile(h.file, text) == nil {
		h.changed = false
	}
}
