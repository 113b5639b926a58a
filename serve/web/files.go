package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed page
var folder embed.FS

// policy lets the page load only what this server sends, and nobody frame it.
const policy = "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; frame-ancestors 'none'; " +
	"base-uri 'none'"

// kinds are the types of the page's files, the same on every machine.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".png":  "image/png",
	".jpg":  "image/jpeg",
}

// file is a file of the page.
type file struct {
	content, kind, tag string
}

// files are those of the page, by their paths.
var files = func() map[string]file {
	all := map[string]file{}
	list, _ := fs.Glob(folder, "page/*")
	for _, name := range list {
		content, err := folder.ReadFile(name)
		kind := kinds[path.Ext(name)]
		if err != nil || kind == "" {
			continue // a folder, or a text beside the page
		}
		sum := sha256.Sum256(content)
		all["/"+path.Base(name)] = file{string(content), kind, `"` + hex.EncodeToString(sum[:12]) + `"`}
	}
	all["/"] = all["/index.html"]
	return all
}()

// IsFile reports whether a request is for a file of the page: nothing secret, which needs no token.
func IsFile(r *http.Request) bool {
	_, ok := files[r.URL.Path]
	return ok && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// serveFile answers a request that IsFile.
func serveFile(w http.ResponseWriter, r *http.Request) {
	f := files[r.URL.Path]
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-cache") // asks each time, by the tag
	header.Set("Content-Type", f.kind)
	header.Set("ETag", f.tag)
	http.ServeContent(w, r, "", noTime, strings.NewReader(f.content))
}
