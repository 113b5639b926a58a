package web_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/serve"
	"github.com/llavatrain/llavatrain/serve/controller"
	"github.com/llavatrain/llavatrain/serve/guard"
	"github.com/llavatrain/llavatrain/serve/llava"
	"github.com/llavatrain/llavatrain/serve/pictures"
	"github.com/llavatrain/llavatrain/serve/servetest"
)

// original runs the original's programs by scripts/reference/serve_original.py.
type original struct{ python, script, checkout string }

func newOriginal(t *testing.T) original {
	t.Helper()
	o := original{os.Getenv("SERVE_PYTHON"), "../../scripts/reference/serve_original.py", os.Getenv("LLAVA_CHECKOUT")}
	if o.python == "" || o.checkout == "" {
		t.Skip("LLAVA_CHECKOUT and SERVE_PYTHON are not set, see scripts/reference/serve_original.py")
	}
	return o
}

func (o original) command(ctx context.Context, arguments ...string) *exec.Cmd {
	return exec.CommandContext(ctx, o.python, append([]string{o.script, o.checkout}, arguments...)...)
}

// lines are what a command prints, each a JSON object.
func (o original) lines(t *testing.T, arguments ...string) (list []map[string]any) {
	t.Helper()
	command := o.command(t.Context(), arguments...)
	var errors bytes.Buffer
	command.Stderr = &errors
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", arguments, err, errors.String())
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		line := map[string]any{}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		list = append(list, line)
	}
	return list
}

// start runs a server until the test ends, and returns its address.
func (o original) start(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	address := fmt.Sprintf("http://localhost:%d", port)
	for i := range arguments {
		arguments[i] = strings.ReplaceAll(arguments[i], "SELF", address)
	}
	command := o.command(t.Context(), append([]string{program, "--port", fmt.Sprint(port)}, arguments...)...)
	log := new(bytes.Buffer)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	wait(t, func() bool {
		response, err := http.Post(address+"/worker_get_status", "", nil)
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})
	return address
}

// wait waits until something is so.
func wait(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for a minute")
		}
	}
}

// ours serves a handler behind the guard until the test ends.
func ours(t *testing.T, handler http.Handler) string {
	t.Helper()
	server, err := guard.New(guard.Settings{Host: "localhost", Drain: time.Second}, handler)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return fmt.Sprintf("http://localhost:%d", server.Port())
}

func ourController(t *testing.T) string {
	c := controller.New(controller.Settings{HTTP: llava.NewClient("", false)})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go c.Run(ctx)
	return ours(t, c.Routes())
}

func ourWorker(t *testing.T, controllerAddress, name string) (string, *servetest.Engine) {
	e := servetest.New(name)
	e.Served.Template = "llava_v1"
	w := &llava.Worker{Engine: e, Pictures: pictures.NewDecoder()}
	address := ours(t, w.Routes())
	m := controller.NewMember(llava.Peer{HTTP: llava.NewClient("", false), Address: controllerAddress}, address,
		func() llava.Status { return llava.StatusOf(e) }, nil)
	w.Changed = m.Changed
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan bool)
	go func() {
		m.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return address, e
}

// llavaV1 writes prompts as the original's template llava_v1.
func llavaV1(template string, messages []serve.Message) (string, string, error) {
	if template != "llava_v1" {
		return "", "", fmt.Errorf("template %s", template)
	}
	prompt := "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, " +
		"detailed, and polite answers to the human's questions. "
	for _, m := range messages {
		prompt += "USER: " + strings.Repeat("<image>\n", m.Pictures) + m.Text + " "
	}
	return prompt + "ASSISTANT:", "</s>", nil
}

// TestOriginal has each program in turn exchanged for the original's.
func TestOriginal(t *testing.T) {
	o := newOriginal(t)
	for _, test := range []struct{ theirController, theirWorker bool }{{false, false}, {false, true}, {true, false},
		{true, true}} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			const name = "llava-v1-toy"
			at := ""
			if test.theirController {
				at = o.start(t, "controller")
			} else {
				at = ourController(t)
			}
			var worker string
			if test.theirWorker {
				worker = o.start(t, "worker", "--controller-address", at, "--worker-address", "SELF",
					"--model-name", name)
			} else {
				worker, _ = ourWorker(t, at, name)
			}
			peer := llava.Peer{HTTP: llava.NewClient("", false), Address: at}
			wait(t, func() bool {
				m, err := peer.Models(t.Context())
				return err == nil && slices.Equal(m.Names, []string{name})
			})
			if address, err := peer.Worker(t.Context(), name); err != nil || address != worker {
				t.Errorf("%s, %v", address, err)
			}
			o.theirPage(t, at, name, test.theirWorker)
			ourPage(t, peer, name, test.theirWorker)
			proxied(t, at, name)
		})
	}
}

// theirPage asks by the original's web program.
func (o original) theirPage(t *testing.T, at, name string, theirWorker bool) {
	t.Helper()
	image := filepath.Join(o.checkout, "llava/serve/examples/waterview.jpg")
	for _, question := range []struct{ image, text string }{{"", "what is this"}, {image, "what is this"},
		{"", "refuse"}, {"", "fail"}} {
		shown := o.lines(t, "ask", "--controller", at, "--model", name, "--text", question.text, "--image",
			question.image)
		if diff := cmp.Diff(map[string]any{"models": []any{name}}, shown[0]); diff != "" {
			t.Error(diff)
		}
		want := question.text
		switch {
		case question.image != "" && theirWorker:
			want += " 1000x667" // their toy says what it saw
		case question.text == "refuse" && !theirWorker:
			want = "The queue is full; try again later. (error_code: 1)"
		case question.text == "fail" && !theirWorker:
			want = "The model failed while it answered. Ask again; the server's log says more. (error_code: 1)"
		}
		if got := shown[len(shown)-1]["shown"]; got != want || len(shown) < 3 {
			t.Errorf("%v, not %s", shown, want)
		}
	}
}

// ourPage asks as our web program does.
func ourPage(t *testing.T, at llava.Peer, name string, theirWorker bool) {
	t.Helper()
	list, err := llava.NewFleet(at, llavaV1).List(t.Context())
	if err != nil || len(list) != 1 || list[0].Own == theirWorker || list[0].Model().Template != "llava_v1" {
		t.Fatalf("%v, %+v", err, list)
	}
	reply, err := list[0].Submit(serve.Request{
		Messages: []serve.Message{{Role: "user", Text: "one two", Pictures: 1}},
		Pictures: []*picture.RGB{{W: 2000, H: 1000, Pix: make([]byte, 3*2000*1000)}}})
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	text := ""
	for err == nil {
		var events []serve.Event
		events, err = reply.Next(t.Context())
		for _, e := range events {
			text += e.Text
		}
	}
	want := "one two"
	if theirWorker {
		want += " 1344x672"
	}
	if err != io.EOF || text != want {
		t.Errorf("%q, %v", text, err)
	}
}

// proxied compares the bytes of a stream that the controller passes on.
func proxied(t *testing.T, at, name string) {
	t.Helper()
	body := `{"model": "` + name + `", "prompt": "é USER: 世 𝄞 \u007f ASSISTANT:", "stop": "</s>", "temperature": "0"}`
	response, err := http.Post(at+"/worker_generate_stream", "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, _ := io.ReadAll(response.Body)
	const last = `{"text": "\u00e9 USER: \u4e16 \ud834\udd1e \u007f ASSISTANT:\u4e16 \ud834\udd1e \u007f", ` +
		`"error_code": 0}`
	if messages := strings.Split(strings.TrimRight(string(got), "\x00"), "\x00"); messages[len(messages)-1] != last {
		t.Errorf("%q", got)
	}
	if response.StatusCode != 200 || len(response.Header["Content-Type"]) != 0 ||
		response.TransferEncoding[0] != "chunked" {
		t.Errorf("%d, %v", response.StatusCode, response.Header)
	}
}

// TestOriginalExchanges sends the same requests to both controllers.
func TestOriginalExchanges(t *testing.T) {
	o := newOriginal(t)
	worker := ours(t, llava.Routes{"/worker_get_status": func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"model_names": ["b", "a"], "speed": 2, "queue_length": 1, "more": 1}`)
	}})
	both := []string{o.start(t, "controller"), ourController(t)}
	const given = `"worker_status": {"model_names": ["a"], "speed": 1, "queue_length": `
	dead := `{"worker_name": "http://localhost:9", "check_heart_beat": true, `
	for _, step := range [][2]string{
		{"list_models", ``}, {"get_worker_address", `{"model": "a"}`}, {"worker_get_status", ``},
		{"worker_generate_stream", `{"model": "a"}`},
		{"receive_heart_beat", `{"worker_name": "http://localhost:9", "queue_length": 0}`},
		{"register_worker", dead + `"worker_status": null}`}, {"list_models", `x`},
		{"register_worker", dead + given + `0}, "multimodal": true}`}, {"list_models", ``},
		{"get_worker_address", `{"model": "a"}`}, {"get_worker_address", `{"model": "none"}`},
		{"receive_heart_beat", `{"worker_name": "http://localhost:9", "queue_length": 3}`},
		{"register_worker", `{"worker_name": "` + worker + `", "check_heart_beat": false}`},
		{"get_worker_address", `{"model": "a"}`}, {"get_worker_address", `{"model": "a"}`},
		{"get_worker_address", `{"model": "a"}`}, {"get_worker_address", `{"model": "a"}`},
		{"get_worker_address", `{"model": "a"}`}, {"get_worker_address", `{"model": "a"}`},
		{"worker_get_status", ``}, {"refresh_all_workers", ``}, {"get_worker_address", `{"model": "a"}`},
		{"receive_heart_beat", `{"worker_name": "http://localhost:9", "queue_length": 3}`}, {"nothing", ``},
		{"GET list_models", ``}, {"PUT register_worker", ``},
	} {
		var answers [2]string
		for i, at := range both {
			method, path, ok := strings.Cut(step[0], " ")
			if !ok {
				method, path = "POST", step[0]
			}
			r, _ := http.NewRequest(method, at+"/"+path, strings.NewReader(step[1]))
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(response.Body)
			response.Body.Close()
			answers[i] = fmt.Sprint(response.StatusCode, " ", normal(text))
		}
		t.Logf("%s %s: %s", step[0], step[1], answers[0])
		if step[0] == "worker_generate_stream" { // the original goes on after code 2, and all its texts are one
			if answers[1] != `200 "No worker serves the model \"a\" now. Start one, or choose another model." 2` ||
				!strings.HasSuffix(answers[0], `PAGE.**" 2`) && !strings.HasSuffix(answers[0], `PAGE.**" 3`) {
				t.Error(answers)
			}
		} else if answers[0] != answers[1] {
			t.Errorf("%s %s: theirs %s, ours %s", step[0], step[1], answers[0], answers[1])
		}
	}
}

// normal is an answer with its lists sorted, or the last message of a stream.
func normal(text []byte) string {
	if at := bytes.IndexByte(text, 0); at >= 0 {
		messages := bytes.Split(bytes.TrimRight(text, "\x00"), []byte{0})
		var m struct {
			Text string
			Code int `json:"error_code"`
		}
		json.Unmarshal(messages[len(messages)-1], &m)
		return fmt.Sprintf("%q %d", m.Text, m.Code)
	}
	var value any
	if json.Unmarshal(text, &value) != nil {
		return string(text)
	}
	if object, ok := value.(map[string]any); ok {
		for _, key := range []string{"models", "model_names"} {
			if list, ok := object[key].([]any); ok {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
	}
	sorted, _ := json.Marshal(value)
	return string(sorted)
}

// TestOriginalTemplates compares the choice of a template by names made of all parts that it looks for.
func TestOriginalTemplates(t *testing.T) {
	o := newOriginal(t)
	var names []string
	parts := []string{"llava", "LLaVA", "llama-2", "mistral", "Mixtral", "orca", "hermes", "llava-v1.6-34b", "v1",
		"mmtag", "plain", "finetune", "mpt", "MPT", "vicuna"}
	for _, a := range parts {
		for _, b := range parts {
			for _, c := range parts {
				names = append(names, a+"_"+b+"_"+c)
			}
		}
	}
	for _, line := range o.lines(t, append([]string{"templates"}, names...)...) {
		name := line["name"].(string)
		if template, fails := llava.TemplateByName(name); template != line["template"] || fails != line["fails"] {
			t.Errorf("%s: %s, %v, not %v, %v", name, template, fails, line["template"], line["fails"])
		}
	}
}
