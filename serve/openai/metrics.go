package openai

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/llavatrain/llavatrain/serve"
)

// Metrics are what is counted of the engines that it watches, by whichever protocol they are asked.
type Metrics struct {
	mu      sync.Mutex
	models  map[string]*timings
	refused map[string]int64 // by reason
}

// NewMetrics makes empty metrics.
func NewMetrics() *Metrics {
	return &Metrics{models: map[string]*timings{}, refused: map[string]int64{}}
}

// timings are the histograms of a model.
type timings struct {
	first, between, whole, decode, queue, prefill *histogram // seconds
	prompt, answer                                *histogram // tokens
}

func newTimings() *timings {
	return &timings{
		first: newHistogram(firstBounds), between: newHistogram(tokenBounds), whole: newHistogram(requestBounds),
		decode: newHistogram(requestBounds), queue: newHistogram(requestBounds), prefill: newHistogram(requestBounds),
		prompt: newHistogram(countBounds), answer: newHistogram(countBounds),
	}
}

func (m *Metrics) of(model string) *timings {
	t := m.models[model]
	if t == nil {
		t = newTimings()
		m.models[model] = t
	}
	return t
}

// Watch is an engine whose answers are timed.
func (m *Metrics) Watch(e serve.Engine) serve.Engine { return &watched{e, m} }

type watched struct {
	serve.Engine
	metrics *Metrics
}

// Status implements serve.Engine. An engine tells the times of a request once, to whoever asks first: also when that is
// a heart beat of LLaVA's protocol, they are counted.
func (w *watched) Status() serve.Status {
	status := w.Engine.Status()
	w.metrics.mu.Lock()
	defer w.metrics.mu.Unlock()
	t := w.metrics.of(w.Engine.Model().Name)
	for _, seconds := range status.QueueSeconds {
		t.queue.add(seconds)
	}
	for _, seconds := range status.PrefillSeconds {
		t.prefill.add(seconds)
	}
	status.QueueSeconds, status.PrefillSeconds = nil, nil
	return status
}

// Submit implements serve.Engine.
func (w *watched) Submit(r serve.Request) (*serve.Reply, error) {
	began := time.Now()
	reply, err := w.Engine.Submit(r)
	if err != nil {
		return nil, err
	}
	one := &watch{m: w.metrics, model: w.Engine.Model().Name, began: began, last: map[int]time.Time{},
		usage: map[int]serve.Usage{}}
	if before := reply.Observe; before != nil {
		reply.Observe = func(events []serve.Event, err error) {
			before(events, err)
			one.observe(events, err)
		}
	} else {
		reply.Observe = one.observe
	}
	return reply, nil
}

// watch times one answer.
type watch struct {
	m     *Metrics
	model string
	began time.Time
	first time.Time
	last  map[int]time.Time // of a choice's last token
	usage map[int]serve.Usage
}

func (w *watch) observe(events []serve.Event, err error) {
	now := time.Now()
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	t := w.m.of(w.model)
	for _, e := range events {
		if e.Place > 0 {
			continue
		}
		if w.first.IsZero() {
			w.first = now
			t.first.add(now.Sub(w.began).Seconds())
		}
		// Tokens that came together share the time since the last ones.
		if n := e.Usage.Answer - w.usage[e.Choice].Answer; n > 0 {
			if last, ok := w.last[e.Choice]; ok {
				for range min(n, 1000) {
					t.between.add(now.Sub(last).Seconds() / float64(n))
				}
			}
			w.last[e.Choice] = now
		}
		w.usage[e.Choice] = e.Usage
	}
	if errors.Is(err, io.EOF) {
		w.end(t, now)
	}
}

// end counts a whole answer.
func (w *watch) end(t *timings, now time.Time) {
	t.whole.add(now.Sub(w.began).Seconds())
	if !w.first.IsZero() {
		t.decode.add(now.Sub(w.first).Seconds())
	}
	prompt, answer := 0, 0
	for _, u := range w.usage {
		prompt, answer = max(prompt, u.Prompt), answer+u.Answer
	}
	t.prompt.add(float64(prompt))
	t.answer.add(float64(answer))
}

// reasons are the labels of refusals.
var reasons = map[serve.Reason]string{serve.Invalid: "invalid", serve.ContextFull: "context_full",
	serve.BadPicture: "bad_picture", serve.Busy: "busy", serve.Closing: "closing", serve.Failed: "failed"}

// refuse counts a request of this API that was not answered.
func (m *Metrics) refuse(err error) {
	refusal, reason := new(serve.Refusal), "invalid"
	if errors.As(err, &refusal) {
		reason = reasons[refusal.Reason]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused[reason]++
}

// metrics answers GET /metrics.
func (a *API) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	served := map[string]serve.Status{}
	var names []string
	for _, model := range a.Models.List() {
		if engine, ok := a.Models.Find(model.Name); ok {
			names = append(names, model.Name)
			served[model.Name] = engine.Status()
		}
	}
	p := &page{w: w}
	a.Metrics.write(p, names, served)
	if a.More != nil {
		a.More(w)
	}
}

// write writes all families: lines of one family stand together.
func (m *Metrics) write(p *page, names []string, served map[string]serve.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, family := range counters {
		for _, name := range names {
			status := served[name]
			p.begin(family.name, family.kind, family.help)
			for _, one := range family.of(status) {
				p.value(family.name, one.value, append([]string{"model_name", name, "engine", "0"}, one.labels...)...)
			}
		}
	}
	for _, family := range histograms {
		for _, name := range names {
			p.begin(family.name, "histogram", family.help)
			p.histogram(family.name, family.of(m.of(name)), "model_name", name, "engine", "0")
		}
	}
	for _, name := range names {
		p.begin("vllm:iteration_tokens_total", "histogram", "Tokens of a step of the engine.")
		p.histogram("vllm:iteration_tokens_total", steps(served[name]), "model_name", name, "engine", "0")
	}
	for _, reason := range slices.Sorted(maps.Values(reasons)) {
		p.begin("llavatrain_requests_refused_total", "counter", "Requests that were not answered.")
		p.value("llavatrain_requests_refused_total", float64(m.refused[reason]), "reason", reason)
	}
}
