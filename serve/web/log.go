package web

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/serve"
)

// Sizes of a day's log, after which the day's conversations are not kept any more.
const (
	maxRecords  = 1 << 30 // bytes
	maxPictures = 4 << 30
	jpegQuality = 90
)

var errFull = errors.New("the log of the day is full")

// Log keeps conversations and votes in a folder, as the original's web program does in its working folder: an object a
// line in YYYY-MM-DD-conv.json, pictures once each as serve_images/YYYY-MM-DD/MD5.jpg, where the MD5 is that of the
// pixels. All is for the owner's eyes only, as what users ask and show is personal.
type Log struct {
	dir     string
	address bool      // whether the clients' addresses are kept
	faults  io.Writer // a line for the first fault of a day

	mu       sync.Mutex
	day      string
	records  int64 // bytes of the day
	pictures int64
	told     string // the day of the last fault
}

// OpenLog makes the folder if it is missing. Faults are told on faults, once a day, and end no conversation.
func OpenLog(dir string, address bool, faults io.Writer) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, failure.Input(err)
	}
	test, err := os.CreateTemp(dir, ".try")
	if err != nil {
		return nil, failure.Input(err)
	}
	test.Close()
	os.Remove(test.Name())
	return &Log{dir: dir, address: address, faults: faults}, nil
}

// roles are the names of roles in the original's conversations.
var roles = map[string]string{"system": "SYSTEM", "user": "USER", "assistant": "ASSISTANT"}

// record is a line of the log, with the original's keys in its order. ID is ours.
type record struct {
	Time   float64  `json:"tstamp"` // seconds since 1970
	Type   string   `json:"type"`
	Model  string   `json:"model"`
	Start  *float64 `json:"start,omitempty"`
	Finish *float64 `json:"finish,omitempty"`
	State  state    `json:"state"`
	Images []string `json:"images,omitempty"`
	IP     string   `json:"ip,omitempty"`
	ID     string   `json:"id,omitempty"`
}

// state is a conversation. Each picture of a message is a line <image> before its text.
type state struct {
	System   string      `json:"system"`
	Roles    [2]string   `json:"roles"`
	Messages [][2]string `json:"messages"`
	Offset   int         `json:"offset"`
	Sep      string      `json:"sep"`
	Sep2     string      `json:"sep2"`
}

func newState(stop string) state {
	return state{Roles: [2]string{roles["user"], roles["assistant"]}, Messages: [][2]string{}, Sep: " ", Sep2: stop}
}

func (s *state) add(role, text string, pictures int) {
	if role == "system" {
		s.System += text
		return
	}
	s.Messages = append(s.Messages, [2]string{roles[role], strings.Repeat("<image>\n", pictures) + text})
}

// seconds since 1970, with four places as the original's.
func seconds(t time.Time) float64 { return math.Round(float64(t.UnixMicro())/100) / 1e4 }

func (l *Log) vote(v *vote, from netip.Addr) error {
	now := time.Now()
	r := record{Time: seconds(now), Type: v.Vote, Model: v.Model, State: newState(""), ID: v.ID}
	for _, m := range v.Messages {
		r.State.add(m.Role, m.Text, m.Pictures)
	}
	if l.address {
		r.IP = from.String()
	}
	return l.write(now, &r)
}

// chat is the record of a conversation without its answer. The pictures are kept.
func (l *Log) chat(model serve.Model, q serve.Request, start time.Time) (*record, error) {
	first := seconds(start)
	r := &record{Type: "chat", Model: model.Name, Start: &first, State: newState(model.StopText), ID: q.ID}
	for _, m := range q.Messages {
		r.State.add(m.Role, m.Text, m.Pictures)
	}
	if l.address {
		r.IP = q.Client
	}
	for _, p := range q.Pictures {
		name, err := l.picture(start, p)
		if err != nil {
			return nil, err
		}
		r.Images = append(r.Images, name)
	}
	return r, nil
}

// answered writes the record with its answer.
func (l *Log) answered(r *record, answer string, finish time.Time) error {
	r.Time = seconds(finish)
	r.Finish = &r.Time
	r.State.add("assistant", answer, 0)
	return l.write(finish, r)
}

// begin counts what the day's log has, once a day. The caller holds l.mu.
func (l *Log) begin(now time.Time) {
	day := now.Format(time.DateOnly)
	if day == l.day {
		return
	}
	l.day, l.records, l.pictures = day, 0, 0
	if info, err := os.Stat(l.recordsFile()); err == nil {
		l.records = info.Size()
	}
	list, _ := os.ReadDir(l.picturesDir())
	for _, entry := range list {
		if info, err := entry.Info(); err == nil {
			l.pictures += info.Size()
		}
	}
}

// failed tells the first fault of a day.
func (l *Log) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.told != l.day {
		l.told = l.day
		fmt.Fprintf(l.faults, "A conversation is not in the log: %v.\n", err)
	}
}

func (l *Log) recordsFile() string { return filepath.Join(l.dir, l.day+"-conv.json") }
func (l *Log) picturesDir() string { return filepath.Join(l.dir, "serve_images", l.day) }

// write appends a line.
func (l *Log) write(now time.Time, r *record) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false) // for readers of the file: <image>
	if err := encoder.Encode(r); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begin(now); l.records+int64(line.Len()) > maxRecords {
		return errFull
	}
	file, err := os.OpenFile(l.recordsFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := file.Write(line.Bytes())
	l.records += int64(n)
	return errors.Join(err, file.Close())
}

// picture keeps a picture, once a day, and returns its name.
func (l *Log) picture(now time.Time, p *picture.RGB) (string, error) {
	sum := md5.Sum(p.Pix)
	name := hex.EncodeToString(sum[:])
	l.mu.Lock()
	l.begin(now)
	dir := l.picturesDir()
	full := l.pictures > maxPictures
	l.mu.Unlock()
	path := filepath.Join(dir, name+".jpg")
	if _, err := os.Stat(path); err == nil {
		return name, nil
	}
	if full {
		return "", errFull
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, p.Image(), &jpeg.Options{Quality: jpegQuality}); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		return "", err
	}
	l.mu.Lock()
	l.pictures += int64(file.Len())
	l.mu.Unlock()
	return name, nil
}
