package checkpoints

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/llavatrain/llavatrain/runs/failure"
)

const manifestName = "manifest.json"

// manifest is the content of manifest.json: all other files of its folder, sorted by name.
type manifest struct {
	Files []manifestFile `json:"files"`
}

type manifestFile struct {
	Name   string `json:"name"` // relative, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Publish fills the folder dir so that it appears complete or not at all. write gets an empty folder beside dir; its
// contents get a manifest, are flushed to the disk and read back, and take dir's name in one step, replacing an earlier
// dir. If anything fails, an earlier dir is unchanged and the temporary folder is removed; if the disk failed, the
// error wraps failure.ErrStorage. Leftovers of a killed Publish of the same dir are removed first, so two processes
// must not publish one dir.
func Publish(dir string, write func(tmp string) error) error {
	parent, base := filepath.Dir(dir), filepath.Base(dir)
	err := os.MkdirAll(parent, 0o777)
	if err == nil {
		err = sweep(parent, base)
	}
	if err != nil {
		return fmt.Errorf("folder %q: %w", dir, failure.Storage(err))
	}
	tmp := temporary(dir, tempMark)
	err = fill(tmp, write)
	if err == nil {
		err = failure.Storage(move(tmp, dir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("folder %q: %w", dir, err), os.RemoveAll(tmp))
	}
	if err = flushPath(parent); err == nil {
		err = removeAll(tmp) // now the earlier dir, if there was one
	}
	if err != nil {
		return fmt.Errorf("folder %q: %w", dir, failure.Storage(err))
	}
	return nil
}

// fill makes a folder whose contents are on the disk and match its manifest.
func fill(tmp string, write func(tmp string) error) error {
	err := os.Mkdir(tmp, 0o777)
	if err == nil {
		err = write(tmp)
	}
	if err == nil {
		err = seal(tmp)
	}
	if err != nil {
		return failure.Storage(err)
	}
	if err := Verify(tmp); err != nil {
		return fmt.Errorf("%w: read back: %w", failure.ErrStorage, err)
	}
	return nil
}

// move renames tmp to dir; an earlier dir is renamed to tmp.
func move(tmp, dir string) error {
	if _, err := os.Lstat(dir); err == nil {
		return swap(tmp, dir)
	}
	return rename(tmp, dir)
}

// seal flushes all files of a folder, then writes the manifest, then flushes the folders.
func seal(dir string) error {
	names, folders, err := walk(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := flushPath(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	files, err := hashFiles(dir, names)
	if err != nil {
		return err
	}
	text, err := manifest{files}.encode()
	if err != nil {
		return err
	}
	err = writeFlushed(filepath.Join(dir, manifestName), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return err
	}
	for _, folder := range slices.Backward(folders) { // innermost first
		if err := flushPath(filepath.Join(dir, folder)); err != nil {
			return err
		}
	}
	return nil
}

func (m manifest) encode() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", " ")
	return append(text, '\n'), err
}

// walk lists the files and folders in a folder, relative to it, each list sorted. The manifest is left out.
func walk(dir string) (files, folders []string, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			folders = append(folders, name)
		case !entry.Type().IsRegular():
			return fmt.Errorf("file %q: not a regular file", path)
		case name != manifestName:
			files = append(files, filepath.ToSlash(name))
		}
		return nil
	})
	slices.Sort(files)
	return files, folders, err
}

// hashFiles reads files of a folder, as many at a time as there are processors.
func hashFiles(dir string, names []string) ([]manifestFile, error) {
	files, errs := make([]manifestFile, len(names)), make([]error, len(names))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var group sync.WaitGroup
	for i, name := range names {
		slots <- struct{}{}
		group.Go(func() {
			files[i], errs[i] = hashFile(dir, name)
			<-slots
		})
	}
	group.Wait()
	return files, errors.Join(errs...)
}

func hashFile(dir, name string) (manifestFile, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return manifestFile{}, err
	}
	defer f.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	return manifestFile{name, size, hex.EncodeToString(hash.Sum(nil))}, err
}

// Verify compares a folder that Publish made with its manifest: the same set of files, with the same sizes and hashes.
// The error names the first file that differs.
func Verify(dir string) error {
	want, err := readManifest(dir)
	if err != nil {
		return err
	}
	names, _, err := walk(dir)
	if err != nil {
		return err
	}
	if err := sameNames(dir, want.Files, names); err != nil {
		return err
	}
	for _, file := range want.Files { // sizes first: they cost nothing
		info, err := os.Stat(filepath.Join(dir, file.Name))
		if err != nil {
			return err
		}
		if info.Size() != file.Size {
			return fmt.Errorf("file %q: %d bytes, but the manifest says %d",
				filepath.Join(dir, file.Name), info.Size(), file.Size)
		}
	}
	got, err := hashFiles(dir, names)
	if err != nil {
		return err
	}
	for i, file := range want.Files {
		if got[i] != file {
			return fmt.Errorf("file %q: its content has changed since it was written "+
				"(SHA-256 differs from the manifest)", filepath.Join(dir, file.Name))
		}
	}
	return nil
}

func readManifest(dir string) (manifest, error) {
	var m manifest
	path := filepath.Join(dir, manifestName)
	text, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("file %q: %w", path, err)
	}
	// JSON can encode one value in many ways; only our own encoding is accepted, so that no byte of the manifest can
	// change undetected.
	if again, err := m.encode(); err != nil || !bytes.Equal(text, again) {
		return m, fmt.Errorf("file %q: changed since it was written", path)
	}
	return m, nil
}

// sameNames compares the files of a manifest with those of its folder, both sorted.
func sameNames(dir string, files []manifestFile, names []string) error {
	for i := range max(len(files), len(names)) {
		switch {
		case i == len(files) || i < len(names) && names[i] < files[i].Name:
			return fmt.Errorf("file %q: not in the manifest", filepath.Join(dir, names[i]))
		case i == len(names) || names[i] > files[i].Name:
			return fmt.Errorf("file %q: in the manifest, but missing", filepath.Join(dir, files[i].Name))
		}
	}
	return nil
}
