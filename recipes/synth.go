package recipes

import "time"

// Synth says how `llavatrain synth` makes instruction data: a chat model that reads text only is given the captions and
// boxes of images and writes what a person and an assistant could say about them (Liu et al. 2023, section 3).
type Synth struct {
	Scenes    []Scenes `yaml:"scenes"`
	Exclude   []string `yaml:"exclude,omitempty"` // question files and lists of images whose images are left out
	Rows      int      `yaml:"rows"`              // to make, of all kinds together
	Kinds     Kinds    `yaml:"kinds"`
	Prompts   string   `yaml:"prompts,omitempty"` // folder; "": the program's own
	Endpoint  Endpoint `yaml:"endpoint"`
	Sampling  Sampling `yaml:"sampling"`
	Budget    Budget   `yaml:"budget,omitempty"`
	Language  string   `yaml:"language"`  // en | any: of the answers
	Untrusted string   `yaml:"untrusted"` // drop | keep: captions that look like orders to the chat model
	Seed      uint64   `yaml:"seed"`
}

// Scenes are annotations of images in one of SceneFormats, and the folder of the images.
type Scenes struct {
	Format    string `yaml:"format"`
	Captions  string `yaml:"captions,omitempty"`  // coco
	Instances string `yaml:"instances,omitempty"` // coco: boxes
	File      string `yaml:"file,omitempty"`      // jsonl
	Regions   string `yaml:"regions,omitempty"`   // visual-genome: region_descriptions.json
	ImageData string `yaml:"image_data,omitempty"`
	Images    string `yaml:"images"`
}

// What Scenes.Format may be.
const (
	SceneCOCO         = "coco" // also LVIS and Objects365, which have the same form
	SceneJSONL        = "jsonl"
	SceneVisualGenome = "visual-genome"
)

// sceneFiles are the keys that each format needs, and those that it may have.
var sceneFiles = map[string]struct{ needs, may []string }{
	SceneCOCO:         {[]string{"captions"}, []string{"instances"}},
	SceneJSONL:        {[]string{"file"}, nil},
	SceneVisualGenome: {[]string{"regions", "image_data"}, nil},
}

// Kinds are the shares of the three kinds of rows.
type Kinds struct {
	Conversation int `yaml:"conversation"`
	Detail       int `yaml:"detail"`
	Reasoning    int `yaml:"reasoning"`
}

// usualKinds are the shares of LLaVA's 158K rows, in thousands.
var usualKinds = Kinds{Conversation: 58, Detail: 23, Reasoning: 77}

// Endpoint is a server of OpenAI's chat completions.
type Endpoint struct {
	URL         string `yaml:"url"` // up to /v1
	Model       string `yaml:"model"`
	KeyEnv      string `yaml:"key_env,omitempty"` // environment variable that holds the key; "": no key is sent
	Dialect     string `yaml:"dialect"`
	Concurrency int    `yaml:"concurrency"`   // requests in flight at most
	RPM         int    `yaml:"rpm,omitempty"` // requests a minute, 0: as the server says
	TPM         int    `yaml:"tpm,omitempty"` // tokens a minute, 0: as the server says
	Timeout     string `yaml:"timeout"`       // of one answer
	Patience    string `yaml:"patience"`      // how long a server may fail before the run ends
	Insecure    bool   `yaml:"insecure,omitempty"`
}

// Dialects are the servers whose peculiarities are known.
var Dialects = []string{"auto", "openai", "azure", "vllm", "sglang", "llama.cpp", "ollama"}

// Limits are Timeout and Patience as durations.
func (e Endpoint) Limits() (timeout, patience time.Duration) {
	timeout, _ = time.ParseDuration(e.Timeout) // checked when the recipe was read
	patience, _ = time.ParseDuration(e.Patience)
	return timeout, patience
}

// Sampling holds the parameters of a request. Those that are nil are not sent: some models refuse them.
type Sampling struct {
	MaxTokens   int      `yaml:"max_tokens"`
	Temperature *float64 `yaml:"temperature,omitempty"`
	TopP        *float64 `yaml:"top_p,omitempty"`
	Seed        *int     `yaml:"seed,omitempty"`
}

// Budget limits what a run may spend; 0: no limit.
type Budget struct {
	Tokens int     `yaml:"tokens,omitempty"` // of prompts and answers
	Money  float64 `yaml:"money,omitempty"`  // in the currency of Prices
	Prices *Prices `yaml:"prices,omitempty"`
}

// Prices are those of a million tokens. None are built in, because they change.
type Prices struct {
	Prompt      float64  `yaml:"prompt"`
	Cached      *float64 `yaml:"cached,omitempty"` // of a prompt that the server has in its cache; nil: as Prompt
	Completion  float64  `yaml:"completion"`
	BatchFactor float64  `yaml:"batch_factor"` // of a request in a batch file
}
