package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a llavatrain command that serves, in a process of its own.
type server struct {
	t       *testing.T
	process *exec.Cmd
	url     string
	mu      sync.Mutex
	said    bytes.Buffer // standard error
	ended   chan struct{}
}

// serves starts `serve ARGS --port 0` and waits until it says where it is.
func serves(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{t: t, ended: make(chan struct{})}
	s.process = exec.Command("llavatrain", append(append([]string{"serve"}, args...), "--port", "0")...)
	s.process.Env = append(os.Environ(), "LLAVATRAIN_TOKEN=")
	out, err := s.process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	found := make(chan string, 1)
	go func() {
		address := regexp.MustCompile(`^(?:page|worker|controller): (http://\S+?)/?$`)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.mu.Lock()
			fmt.Fprintln(&s.said, lines.Text())
			s.mu.Unlock()
			if m := address.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
		s.process.Wait()
		close(s.ended)
	}()
	select {
	case s.url = <-found:
	case <-s.ended:
		t.Fatalf("serve %s ended: %s", strings.Join(args, " "), s.text())
	case <-time.After(2 * time.Minute):
		t.Fatalf("serve %s does not say where it is: %s", strings.Join(args, " "), s.text())
	}
	return s
}

func (s *server) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

func (s *server) kill() {
	s.process.Process.Kill()
	<-s.ended
}

// ends sends a signal and returns the exit code.
func (s *server) ends(signal os.Signal) int {
	s.t.Helper()
	s.process.Process.Signal(signal)
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		s.t.Fatal("the server does not end")
	}
	return s.process.ProcessState.ExitCode()
}

// post sends JSON and returns the status and the body.
func post(t *testing.T, url string, body any) (int, []byte) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(url, "application/json", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, got
}

type fields = map[string]any

// chats asks a question about a picture file by OpenAI's API, greedily.
func chats(t *testing.T, url, model, picture, question string, more fields) string {
	t.Helper()
	content := []fields{{"type": "text", "text": question}}
	if picture != "" {
		content = append(content, fields{"type": "image_url",
			"image_url": fields{"url": "data:image/png;base64," + base64.StdEncoding.EncodeToString(read(t, picture))}})
	}
	body := fields{"model": model, "temperature": 0, "messages": []fields{{"role": "user", "content": content}}}
	for key, value := range more {
		body[key] = value
	}
	status, text := post(t, url+"/v1/chat/completions", body)
	var answer struct {
		Choices []struct {
			Message struct{ Content string }
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil || status != 200 || len(answer.Choices) != 1 {
		t.Fatalf("status %d: %s", status, text)
	}
	return answer.Choices[0].Message.Content
}

// works asks a worker of LLaVA's protocol, and returns what it adds to the prompt.
func works(t *testing.T, url, picture, prompt string, more fields) string {
	t.Helper()
	body := fields{"prompt": prompt, "temperature": 0, "stop": "</s>",
		"images": []string{base64.StdEncoding.EncodeToString(read(t, picture))}}
	for key, value := range more {
		body[key] = value
	}
	status, text := post(t, url+"/worker_generate_stream", body)
	messages := bytes.Split(bytes.Trim(text, "\x00"), []byte{0})
	var last struct {
		Text string
		Code int `json:"error_code"`
	}
	if err := json.Unmarshal(messages[len(messages)-1], &last); err != nil || status != 200 || last.Code != 0 {
		t.Fatalf("status %d: %s", status, text)
	}
	return strings.TrimPrefix(last.Text, prompt)
}

// The answers that were recorded of transformers come over both protocols.
func TestServedAnswersAreTheRecordedOnes(t *testing.T) {
	dir := shared(t, "parity")
	var recorded struct {
		Prompts []struct {
			Prompt, Image, Text string
			Aspect              string  `json:"image_aspect_ratio"`
			NewIDs              []int32 `json:"new_ids"`
		}
	}
	if err := json.Unmarshal(read(t, filepath.Join(dir, "llava-hf.json")), &recorded); err != nil {
		t.Fatal(err)
	}
	for _, p := range recorded.Prompts {
		model := servedOriginal(t, dir, p.Aspect)
		s := serves(t, model, "--vision", filepath.Join(dir, "clip"), "--template", "vicuna_v1", "--model-name", "m")
		photo := shared(t, "coco-mini", "images", p.Image)
		got := works(t, s.url, photo, p.Prompt, fields{"max_new_tokens": len(p.NewIDs)})
		if strings.TrimSpace(got) != strings.TrimSpace(p.Text) {
			t.Errorf("%s, LLaVA's protocol: %q, want %q", p.Image, got, p.Text)
		}
		question := strings.TrimSuffix(p.Prompt[strings.Index(p.Prompt, "<image>\n")+len("<image>\n"):], " ASSISTANT:")
		got = chats(t, s.url, "m", photo, question, fields{"max_tokens": len(p.NewIDs)})
		if strings.TrimSpace(got) != strings.TrimSpace(p.Text) {
			t.Errorf("%s, OpenAI's protocol: %q, want %q", p.Image, got, p.Text)
		}
		s.kill()
	}
}

// servedOriginal is the original's model with a tokenizer beside it, and images prepared in one way.
func servedOriginal(t *testing.T, dir, aspect string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(dir, "llava-original"))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "tokenizer.model"), string(read(t, shared(t, "llama-tokenizer", "tokenizer.model"))))
	var config fields
	path := filepath.Join(folder, "config.json")
	if err := json.Unmarshal(read(t, path), &config); err != nil {
		t.Fatal(err)
	}
	config["image_aspect_ratio"] = aspect
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(text))
	return folder
}

// trained is the world's run after both stages.
func trained(t *testing.T) (dir, model string) {
	t.Helper()
	dir = world(t)
	recipe := filepath.Join(dir, "world.yaml")
	command(t, 0, "pretrain", recipe)
	command(t, 0, "finetune", recipe)
	return dir, filepath.Join(dir, "runs", "world")
}

// A controller, a worker and a page of a trained model answer as generate does, through each other; when the worker is
// killed in the middle of an answer its client is told, and a new one is found.
func TestThreeProgramsServe(t *testing.T) {
	dir, model := trained(t)
	pictures, err := filepath.Glob(filepath.Join(dir, "data", "images", "*.png"))
	if err != nil || len(pictures) == 0 {
		t.Fatal(err)
	}
	const question = "What is it?"
	want := strings.TrimSpace(command(t, 0, "generate", model, "--image", pictures[0], "--prompt", question,
		"--max-tokens", "8"))
	want = want[strings.LastIndex(want, "\n")+1:]
	control := serves(t, "controller")
	worker := func() *server {
		return serves(t, "worker", "--model-path", model, "--controller", control.url)
	}
	first := worker()
	page := serves(t, "web", "--controller", control.url, "--model-list-mode", "reload")
	limit := fields{"max_tokens": 8}
	for i := 0; ; i++ { // until the worker has registered
		status, text := post(t, control.url+"/list_models", fields{})
		if strings.Contains(string(text), `"world"`) {
			break
		}
		if i > 100 {
			t.Fatalf("the worker is not listed: %d %s\n%s", status, text, first.text())
		}
		time.Sleep(100 * time.Millisecond)
	}
	for name, url := range map[string]string{"page": page.url, "worker": first.url} {
		if got := strings.TrimSpace(chats(t, url, "world", pictures[0], question, limit)); got != want {
			t.Errorf("%s answers %q, generate %q", name, got, want)
		}
	}
	body, err := json.Marshal(fields{"model": "world", "max_tokens": 400, "n": 16, "stream": true, "ignore_eos": true,
		"messages": []fields{{"role": "user", "content": "a"}}})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := http.Post(page.url+"/v1/chat/completions", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if _, err := stream.Body.Read(make([]byte, 1)); err != nil { // the answer has begun
		t.Fatal(err)
	}
	first.kill()
	began := time.Now()
	rest, err := io.ReadAll(stream.Body)
	if took := time.Since(began); err != nil || took > 5*time.Second || !bytes.Contains(rest, []byte(`{"error":`)) ||
		bytes.Contains(rest, []byte("[DONE]")) {
		t.Errorf("killed in mid-answer: after %v, %v, %s", took, err, rest[max(0, len(rest)-300):])
	}
	second := worker()
	for i := 0; ; i++ {
		status, text := post(t, page.url+"/v1/chat/completions", fields{"model": "world", "max_tokens": 2,
			"messages": []fields{{"role": "user", "content": "a"}}})
		if status == 200 {
			break
		}
		if i > 100 {
			t.Fatalf("the new worker is not found: %d %s", status, text)
		}
		time.Sleep(100 * time.Millisecond)
	}
	for name, s := range map[string]*server{"controller": control, "worker": second, "web": page} {
		signal, code := os.Signal(syscall.SIGTERM), 143
		if name == "web" {
			signal, code = os.Interrupt, 130
		}
		if got := s.ends(signal); got != code {
			t.Errorf("%s ends with %d, want %d: %s", name, got, code, s.text())
		}
	}
}

// What serve cannot do ends before a model is loaded.
func TestServeRefuses(t *testing.T) {
	control := serves(t, "controller")
	port := control.url[strings.LastIndex(control.url, ":")+1:]
	loose := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(loose, []byte("0123456789abcdef0123456789abcdef"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"serve", "controller", "--port", port}, port},
		{[]string{"serve", "controller", "--host", "203.0.113.9"}, "203.0.113.9"},
		{[]string{"serve", "controller", "--dispatch-method", "fastest"}, "fastest"},
		{[]string{"serve", "controller", "--token-file", loose, "--token-always"}, loose},
		{[]string{"serve", "web", "--share"}, "tunnel"},
		{[]string{"serve", "web", "--controller", "localhost"}, "http://HOST:PORT"},
		{[]string{"serve", "worker", "--model-path", "nope", "--port", "0", "--load-4bit"}, "4 bits"},
		{[]string{"serve", "worker", "--model-path", "nope", "--port", "0"}, "nope is not a model"},
		{[]string{"serve", "nope", "--port", "0"}, "nope is not a model"},
		{[]string{"serve", "nope", "--port", "0", "--rate", "many"}, "60/m"},
		{[]string{"serve", "nope", "--port", "0", "--kv-memory", "lots"}, "--kv-memory"},
	} {
		if text := command(t, 2, c.args...); !strings.Contains(text, c.want) {
			t.Errorf("%v: %q does not hold %q", c.args, text, c.want)
		}
	}
}
