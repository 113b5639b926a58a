package serve

import (
	"time"

	"github.com/llavatrain/llavatrain/data/picture"
)

// Engine answers requests to one model, many at a time. All methods may be called from any goroutine.
type Engine interface {
	// Model says what is served.
	Model() Model
	// Status says how much there is to do.
	Status() Status
	// Submit prepares a request on the caller's goroutine and queues it. The error is a *Refusal if the request cannot
	// be answered, now or ever. The caller must close the reply.
	Submit(r Request) (*Reply, error)
}

// Model describes a served model.
type Model struct {
	Name         string    // as clients ask for it
	Template     string    // name of the conversation template
	StopText     string    // that ends an answer by the template, "" for none
	Created      time.Time // of its weights
	Images       bool      // whether it looks at pictures
	ImageTokens  int       // positions of a small square picture
	MaxPositions int       // of prompt and answer together
	MaxTokens    int       // longest answer that the engine has room for
}

// Status is an engine's load and what it has done since its start.
type Status struct {
	Running, Waiting int     // requests
	Used             float64 // share of the memory for keys and values, 0 to 1

	PromptTokens, AnswerTokens     int64 // done, pictures' positions included
	CachedTokens, QueriedTokens    int64 // of prompts: those that were not computed again, and all
	Pictures                       int64
	Steps                          int64
	StepTokens                     []int64   // histogram of tokens a step, by the bounds of StepBounds
	QueueSeconds, PrefillSeconds   []float64 // of requests that ended since the last call; at most the last 1,000
	FinishedByStop, FinishedByEnd  int64     // by a stop token or text; by length
	FinishedByCancel, FinishedSick int64     // by the client; by a fault
}

// StepBounds are the upper bounds of Status.StepTokens; a last bucket has no bound.
var StepBounds = []int64{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096}

// Request is one question. Exactly one of Prompt and Messages is given.
type Request struct {
	ID     string // for logs
	Client string // whose turn it is in the queue: a token or an address

	Prompt   string         // by LLaVA's protocol: the whole text, with <image> marks and special tokens
	Messages []Message      // by OpenAI's: special tokens and marks in them are text
	Pictures []*picture.RGB // in order of their marks or parts
	Sampling Sampling
}

// Message is a turn of a conversation.
type Message struct {
	Role     string // system, user or assistant
	Text     string
	Pictures int // how many of Request.Pictures, in order, belong to it; they stand before its text
}

// Sampling says how tokens are chosen. The zero value takes the most likely one until the context is full.
type Sampling struct {
	MaxTokens         int     // 0: as many as the context holds
	Temperature       float64 // 0: the most likely token
	TopP              float64 // 0 and 1: all tokens
	TopK              int     // 0: all
	MinP              float64 // least probability, as a share of the most likely token's
	RepetitionPenalty float64 // of tokens in prompt and answer (Keskar et al. 2019); 0 and 1: none
	Seed              *int64  // nil: one is drawn
	Choices           int     // 0 and 1: one answer
	Stop              []string
	StopTokens        []int32
	IgnoreEnd         bool // do not stop at the model's end tokens
	Logprobs          bool // log-probabilities of the chosen tokens
	TopLogprobs       int  // and of so many of the most likely ones
}

// Event is a piece of an answer.
type Event struct {
	Choice int    // from 0
	Place  int    // in the queue, from 1, while the request waits; such an event has nothing else
	Text   string // that follows the choice's text so far; may be ""
	Tokens []Token
	Finish Finish // of the choice's last event
	Usage  Usage  // of the choice so far
}

// Finish says why an answer has ended.
type Finish string

// The ends of an answer, by OpenAI's names.
const (
	Unfinished Finish = ""
	Stopped    Finish = "stop"   // at the model's end token, or a stop text
	TooLong    Finish = "length" // at MaxTokens, or the end of the context
)

// Usage counts tokens. Positions of pictures count as tokens of the prompt.
type Usage struct {
	Prompt, Cached, Answer int // Cached: of the prompt, those that were not computed again
}

// Token is a token of an answer with its log-probability, before temperature.
type Token struct {
	ID      int32
	Text    string // "" where the token's bytes are no whole characters yet
	Bytes   []byte
	Logprob float64
	Top     []Token // the most likely ones in its place, most likely first
}
