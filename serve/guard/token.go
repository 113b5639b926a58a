package guard

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// TokenVariable is the environment variable that holds a token.
const TokenVariable = "LLAVATRAIN_TOKEN"

// tokenFile is the name of a made token in the cache folder.
const tokenFile = "token"

// maxToken is the most bytes of a token.
const maxToken = 512

// FindToken looks for a token in the file, if one is named; in the environment; and in the folder, where an earlier
// server of the same user kept one. If there is none, the token is "".
func FindToken(file, folder string) (string, error) {
	if file != "" {
		return readToken(file)
	}
	if token := os.Getenv(TokenVariable); token != "" {
		return token, checkToken(token)
	}
	token, err := readToken(filepath.Join(folder, tokenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return token, err
}

// KeepToken is FindToken that makes a token, and keeps it in the folder for its user only, if there is none. made says
// that it did: its user has not seen it.
func KeepToken(file, folder string) (token string, made bool, err error) {
	if token, err = FindToken(file, folder); token != "" || err != nil {
		return token, false, err
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return "", false, failure.Storage(err)
	}
	random := make([]byte, 32)
	rand.Read(random)
	token = base64.RawURLEncoding.EncodeToString(random)
	// A link is made or fails as a whole, so that servers that start together agree on one token.
	whole, err := os.CreateTemp(folder, tokenFile+"-*") // 0600
	if err != nil {
		return "", false, failure.Storage(err)
	}
	defer os.Remove(whole.Name())
	_, err = whole.WriteString(token + "\n")
	if err = errors.Join(err, whole.Close()); err != nil {
		return "", false, failure.Storage(err)
	}
	err = os.Link(whole.Name(), filepath.Join(folder, tokenFile))
	if errors.Is(err, fs.ErrExist) {
		token, err = FindToken("", folder)
		return token, false, err
	}
	return token, true, failure.Storage(err)
}

// readToken reads a file that nobody else may read.
func readToken(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", failure.Input(err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return "", failure.Storage(err)
	case !info.Mode().IsRegular():
		return "", failure.Inputf("token file %q is not a file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return "", failure.Inputf("token file %q can be read or written by others: chmod 600 it, and change the "+
			"token if others may have seen it", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxToken+2))
	if err != nil {
		return "", failure.Storage(err)
	}
	token := strings.TrimSpace(string(text))
	if err := checkToken(token); err != nil {
		return "", failure.Inputf("token file %q: %w", path, err)
	}
	return token, nil
}

// checkToken refuses what cannot stand in a header. It does not repeat the token.
func checkToken(token string) error {
	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	switch {
	case token == "":
		return failure.Inputf("the token is empty")
	case len(token) > maxToken:
		return failure.Inputf("the token has more than %d characters", maxToken)
	case strings.ContainsFunc(token, odd):
		return failure.Inputf("a token is one word of ASCII letters, digits and signs, without spaces")
	}
	return nil
}
