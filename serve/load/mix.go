package load

import (
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/llavatrain/llavatrain/runs/failure"
)

// question is a request that is ready to be sent.
type question struct {
	body     []byte
	pictures int
}

// mix makes questions.
type mix struct {
	Settings
	uris []string // of the pictures of Same or of a folder
}

// maxFiles is the most bytes of a folder's pictures, which are all read before the first request.
const maxFiles = 1 << 30

func newMix(s Settings) (*mix, error) {
	m := &mix{Settings: s}
	switch {
	case s.Share == 0 || s.Picture == New:
		return m, nil
	case s.Picture == Same:
		m.uris = []string{dataURI(drawPicture(s.Size, rand.New(rand.NewPCG(s.Seed, 0))))}
		return m, nil
	}
	return m, m.readFolder()
}

// readFolder reads the folder's pictures, in the order of their names.
func (m *mix) readFolder() error {
	entries, err := os.ReadDir(m.Picture)
	if err != nil {
		return failure.Inputf("pictures must be %s, %s or a folder: %w", New, Same, err)
	}
	total := 0
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		if info, err := entry.Info(); err == nil && info.Size() > int64(maxFiles-total) {
			return failure.Inputf("the files in %s have more than 1 GB: name a folder with fewer", m.Picture)
		}
		file, err := os.ReadFile(filepath.Join(m.Picture, entry.Name()))
		if err != nil {
			return failure.Input(err)
		}
		if strings.HasPrefix(http.DetectContentType(file), "image/") {
			total += len(file)
			m.uris = append(m.uris, dataURI(file))
		}
	}
	if len(m.uris) == 0 {
		return failure.Inputf("there is no picture in %s", m.Picture)
	}
	return nil
}

func dataURI(file []byte) string {
	return "data:" + http.DetectContentType(file) + ";base64," + base64.StdEncoding.EncodeToString(file)
}

// question makes the request number i, from 0.
func (m *mix) question(i int) question {
	random := rand.New(rand.NewPCG(m.Seed, uint64(i)+1))
	text := make([]string, m.Words)
	for n := range text {
		text[n] = words[random.IntN(len(words))]
	}
	q := question{}
	var content any = strings.Join(text, " ")
	// Pictures come evenly: their number is right after any number of requests.
	if before, after := int(float64(i)*m.Share), int(float64(i+1)*m.Share); after > before {
		uri := ""
		if len(m.uris) > 0 {
			uri = m.uris[before%len(m.uris)]
		} else {
			uri = dataURI(drawPicture(m.Size, random))
		}
		q.pictures = 1
		content = []map[string]any{{"type": "image_url", "image_url": map[string]string{"url": uri}},
			{"type": "text", "text": content}}
	}
	fields := map[string]any{
		"model": m.Model, "messages": []map[string]any{{"role": "user", "content": content}},
		"max_tokens": m.MaxTokens, "temperature": 0, "stream": true,
		"stream_options": map[string]bool{"include_usage": true},
	}
	if m.IgnoreEnd {
		fields["ignore_eos"] = true
	}
	q.body, _ = json.Marshal(fields) // nothing in it can fail
	return q
}

// words are common ones, of a token or two.
var words = strings.Fields(`air apple arm ball bank bird blue boat body book box bread bridge brown car chair city
	clock cloud coat corn cup day desk dog door dress ear egg eye face field fire fish floor flower food foot garden
	glass gold grass green hair hand hat hill horse house ice iron island key king knife lake lamp leaf leg light
	line map market milk moon mountain mouth music name neck night nose ocean paper park pen picture plant rain
	red river road rock roof room salt sand school sea ship shoe silver sky snow song star stone street sugar sun
	table tail tea tooth town train tree valley village wall water west wheel white wind window winter wood yard`)
