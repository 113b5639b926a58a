package llava

import (
	"context"
	"encoding/base64"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data/picture"
)

// TestClient: the token goes to other machines, to this one only if always; redirects are not followed, nor are proxies
// of the environment used.
func TestClient(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Host+" "+r.Header.Get("Authorization"))
		if r.URL.Path == "/worker_get_status" {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			return
		}
		w.Write([]byte(`{"models": []}`))
	}))
	defer server.Close()
	for _, test := range []struct {
		address, token string
		always         bool
		want           string
	}{
		{"http://localhost:5", "secret", false, "localhost:5 "},
		{"http://127.3.2.1:5", "secret", false, "127.3.2.1:5 "},
		{"http://[::1]:5", "secret", false, "[::1]:5 "},
		{"http://localhost:5", "secret", true, "localhost:5 Bearer secret"},
		{"http://10.1.2.3:5", "secret", false, "10.1.2.3:5 Bearer secret"},
		{"http://localhost.example:5", "secret", false, "localhost.example:5 Bearer secret"},
		{"http://10.1.2.3:5", "", false, "10.1.2.3:5 "},
	} {
		got = nil
		client := NewClient(test.token, test.always)
		client.Transport.(*bearer).inner.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		}
		peer := Peer{client, test.address}
		if _, err := peer.Models(t.Context()); err != nil || len(got) != 1 || got[0] != test.want {
			t.Errorf("%+v: %q, %v", test, got, err)
		}
		if _, err := peer.Status(t.Context()); err == nil || err.Error() != "answers with status 307" || len(got) != 2 {
			t.Errorf("%+v: %q, %v", test, got, err)
		}
		client.CloseIdleConnections()
	}
}

// says answers everything with a text.
func says(text string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(text)) }))
}

// TestBadAnswers: what is no controller or worker says so, and does not end the asker.
func TestBadAnswers(t *testing.T) {
	const other = "does not speak LLaVA's protocol"
	many := `[` + strings.Repeat(`"a",`, 256) + `"a"]`
	for body, want := range map[string]string{
		``: other, `<ht`: other, `[]`: other, strings.Repeat(" ", maxAnswer) + `{}`: other,
		`{}`: "names no models", `null`: "names no models",
		`{"models": ["\u0000"], "model_names": ["\u0000"]}`:     "names a model whose name must be printable",
		`{"models": ` + many + `, "model_names": ` + many + `}`: "names 257 models, and the most is 256",
	} {
		server := says(body)
		peer := Peer{server.Client(), server.URL}
		if _, err := peer.Models(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.50s: %v", body, err)
		}
		if _, err := peer.Status(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.50s: %v", body, err)
		}
		server.Close()
	}
	server := says(`{}`)
	defer server.Close()
	if known, err := (Peer{server.Client(), server.URL}).Beat(t.Context(), Beat{}); known || err == nil {
		t.Error(known, err)
	}
}

func TestStatusCheck(t *testing.T) {
	for name, s := range map[string]Status{
		"a speed":       {Models: []string{}, Speed: -1},
		"a queue":       {Models: []string{}, Queue: -1},
		"a long name":   {Models: []string{strings.Repeat("a", 201)}},
		"a template":    {Models: []string{}, Details: &Details{Template: strings.Repeat("a", 201)}},
		"a stop text":   {Models: []string{}, Details: &Details{StopText: strings.Repeat("a", 201)}},
		"no list":       {},
		"control marks": {Models: []string{"a\x1b[31m"}},
	} {
		if s.Check() == nil {
			t.Errorf("%s passes", name)
		}
	}
	fine := Status{Models: []string{strings.Repeat("é", 200)}, Speed: 1, Details: new(Details)}
	if err := fine.Check(); err != nil {
		t.Error(err)
	}
}

// TestEncode: our workers get a picture as it is, unless its file is too large to be sent on.
func TestEncode(t *testing.T) {
	noise := &picture.RGB{W: 2600, H: 2000, Pix: make([]uint8, 3*2600*2000)}
	flat := &picture.RGB{W: 2600, H: 2000, Pix: make([]uint8, 3*2600*2000)}
	random := rand.NewChaCha8([32]byte{})
	random.Read(noise.Pix)
	for _, test := range []struct {
		p    *picture.RGB
		own  bool
		w, h int
	}{{flat, true, 2600, 2000}, {noise, true, 873, 672}, {flat, false, 873, 672}} {
		list, err := encode([]*picture.RGB{test.p}, test.own)
		if err != nil {
			t.Fatal(err)
		}
		if w, h := size(t, list[0]); w != test.w || h != test.h {
			t.Errorf("own %v: %d x %d", test.own, w, h)
		}
	}
}

// size is that of a picture in base64.
func size(t *testing.T, text string) (w, h int) {
	t.Helper()
	file, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	header, err := picture.ReadHeader(file)
	if err != nil {
		t.Fatal(err)
	}
	return header.Width, header.Height
}
