package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The repository's rules, checked on go list's output and the sources.

const module = "github.com/llavatrain/llavatrain"

// doors lists which of our packages each package may import, and why no others.
var doors = map[string]struct {
	imports []string
	why     string
}{
	"cmd/llavatrain": {[]string{"cmd/llavatrain/program", "cmd/llavatrain/benchmarking", "cmd/llavatrain/training",
		"cmd/llavatrain/datasets",
		"cmd/llavatrain/models", "cmd/llavatrain/looking", "cmd/llavatrain/serving", "cmd/llavatrain/synthesis"},
		"it assembles the commands"},
	"cmd/llavatrain/serving": {[]string{"cmd/llavatrain/program", "checkpoints", "data", "data/picture", "model",
		"recipes", "runs", "serve", "serve/controller", "serve/guard", "serve/llava", "serve/openai", "serve/pictures",
		"serve/load", "serve/web", "train/answer"}, "it joins the servers to a model's engine"},
	"cmd/llavatrain/training": {[]string{"cmd/llavatrain/program", "train", "train/answer", "checkpoints",
		"data/picture", "model", "ranks", "recipes", "report", "runs", "synth/shapes"},
		"commands that train, and that launch several processes"},
	"cmd/llavatrain/datasets": {[]string{"cmd/llavatrain/program", "train/check", "train/input", "checkpoints", "data",
		"data/picture", "recipes", "runs"}, "commands on data"},
	"cmd/llavatrain/models": {[]string{"cmd/llavatrain/program", "train/answer", "train/device", "train/export",
		"train/score", "checkpoints", "data/picture", "model", "recipes"}, "commands that use a trained model"},
	"cmd/llavatrain/looking": {[]string{"cmd/llavatrain/program", "train", "train/device", "checkpoints",
		"model/torch"},
		"commands that inspect the machine"},
	"cmd/llavatrain/benchmarking": {[]string{"cmd/llavatrain/program", "benchmarks", "benchmarks/files",
		"benchmarks/judge", "checkpoints", "model", "runs", "synth/chat", "train/answer", "train/exam"},
		"it joins benchmarks to a model's engine, and judges answers, whoever gave them"},
	"cmd/llavatrain/synthesis": {[]string{"cmd/llavatrain/program", "checkpoints", "data/picture", "runs", "synth",
		"synth/caption", "synth/chat", "synth/convert", "synth/prompt"}, "commands that make data, and train nothing"},
	"cmd/llavatrain/program": {[]string{"train", "train/answer", "data/picture", "model/torch", "ranks", "recipes",
		"runs"},
		"what commands share: terminal, signals, exit codes"},

	"train/check": {[]string{"train", "train/device", "train/exam", "train/input", "train/score", "checkpoints", "data",
		"data/alike", "data/picture",
		"data/rows", "model", "model/torch", "recipes", "runs"}, "it reads what a run reads, by the run's code"},
	"train/answer": {[]string{"train/device", "train/input", "data", "data/picture", "data/rows", "data/tokenizer",
		"checkpoints", "model", "model/torch", "recipes", "runs"}, "it asks a model and does not train"},
	"train/device": {[]string{"model/torch", "recipes"}, "where a model is computed, whatever it does"},
	"train/exam": {[]string{"train/answer", "train/input", "benchmarks", "data/picture", "data/rows", "model",
		"recipes", "runs"}, "it joins questions to a model's engine, whether the model trains or not"},
	"train": {[]string{"train/device", "train/exam", "train/input", "train/score", "train/profile",
		"train/export", "model", "loss", "data",
		"data/picture", "checkpoints", "recipes", "report", "runs", "model/nn", "model/torch", "ranks"},
		"it trains on any data and does not make data (synth)"},
	"train/export": {[]string{"train/input", "data", "data/picture", "data/tokenizer", "checkpoints", "model",
		"model/nn", "model/torch", "recipes", "runs"}, "folders that other programs read, from any model"},
	"train/score": {[]string{"train/input", "data", "loss", "model", "model/nn", "model/torch", "recipes", "runs"},
		"it needs no optimizer and no run"},
	"train/profile": {[]string{"model/torch"}, "it times a step, whatever the step does"},
	"train/input": {[]string{"data", "data/picture", "data/rows", "data/tokenizer", "checkpoints", "model", "recipes",
		"runs"}, "it opens a stage's data, whatever it is used for"},

	"model": {[]string{"model/nn", "model/torch", "recipes", "checkpoints"},
		"a model does not know how samples are made or how it is trained"},
	"loss":     {[]string{"model/torch"}, "a loss sees hidden states and labels, whatever made them"},
	"model/nn": {[]string{"model/torch"}, "layers do not know families or files"},
	"ranks":    {[]string{"model/torch"}, "processes of one job, whatever they compute together"},
	"model/torch": {[]string{"model/torch/shim", "checkpoints"},
		"the interface to libtorch does not know what is computed with it"},
	"model/torch/shim":      {nil, "only C++, so that an edit of Go compiles none"},
	"model/torch/torchtest": {[]string{"model/torch", "model/torch/shim"}, "tests of every engine package use it"},

	"runs": {[]string{"runs/tensorboard", "checkpoints", "data", "data/picture", "data/rows", "recipes"},
		"the contents of a run folder, for whatever writes or reads them"},
	"data": {[]string{"data/picture", "data/rows", "data/tokenizer"},
		"data is prepared without libtorch, so that it builds and is tested without it"},
	"data/alike": {[]string{"data/picture", "data/rows", "checkpoints"},
		"it compares what any data set or benchmark holds, and does not judge it"},
	"data/rows": {[]string{"data/picture", "checkpoints"}, "file formats, whatever their rows are used for"},
	"data/picture": {[]string{"data/picture/bmp", "data/picture/gif", "data/picture/tiff"},
		"bytes become pixels, wherever the bytes came from"},
	"data/picture/bmp":  {nil, "one format, whatever its pixels are used for"},
	"data/picture/gif":  {nil, "one format, whatever its pixels are used for"},
	"data/picture/tiff": {nil, "one format, whatever its pixels are used for"},
	"data/tokenizer":    {nil, "text becomes ids, whatever the text is"},
	"data/datatest":     {nil, "tests of data and its packages use it"},
	"benchmarks": {[]string{"benchmarks/figure", "benchmarks/files", "benchmarks/rule", "checkpoints", "data/picture"},
		"it judges answers, and knows nothing of the models that gave them"},
	"benchmarks/figure": {nil, "figures of any sums"},
	"benchmarks/judge": {[]string{"benchmarks", "benchmarks/files", "checkpoints", "synth/chat", "synth/chat/reply"},
		"it asks about answers by the client that pays once"},
	"benchmarks/files": {[]string{"data/picture", "data/rows"},
		"what benchmarks are published in, whatever they ask"},
	"benchmarks/rule":  {nil, "answers are judged by their text, whatever was asked"},
	"runs/failure":     {nil, "every package classifies its errors"},
	"runs/tensorboard": {nil, "a file format, whatever the values are"},
	"recipes":          {nil, "what a recipe may contain does not depend on who reads it"},
	"checkpoints":      {nil, "files and folders, whatever they hold"},

	"synth": {[]string{"synth/answer", "synth/chat", "synth/chat/reply", "synth/prompt", "synth/scene", "checkpoints",
		"data/alike", "data/picture", "recipes", "report/page", "runs"},
		"it writes files that other packages read, and knows nothing of models and training"},
	"synth/answer": {[]string{"synth/chat/reply"}, "a reply becomes turns, whoever wrote it"},
	"synth/caption": {[]string{"synth/caption/phrase"},
		"captions are chosen by their phrases, whatever they show"},
	"synth/caption/phrase": {nil, "noun phrases of a sentence, whatever it is for"},
	"synth/chat": {[]string{"synth/chat/reply", "checkpoints"},
		"it asks a server and pays once, whatever the questions are: judges will use it too"},
	"synth/chat/chattest": {nil, "a server of replies, for tests of the client"},
	"synth/chat/reply":    {nil, "what a server's bytes say, however they came"},
	"synth/convert":       {nil, "files of others become rows, whatever is done with them"},
	"synth/prompt":        {[]string{"synth/answer"}, "it checks its examples as answers are checked"},
	"synth/scene":         {nil, "annotations in words, whoever reads them"},
	"synth/shapes":        {nil, "it writes files that other packages read"},
	"synth/synthtest":     {nil, "a server that writes conversations, for tests of commands"},
	"report": {[]string{"report/page", "checkpoints", "data", "recipes", "runs"},
		"it reads what a run left, and starts nothing"},
	"report/page": {nil, "a page of tables and charts, whatever they show"},

	"serve":          {[]string{"data/picture"}, "what servers see of an engine, whatever answers"},
	"serve/guard":    {nil, "it lets requests in, whatever they ask"},
	"serve/pictures": {[]string{"serve", "data/picture"}, "pictures of requests, by whichever protocol they come"},
	"serve/openai":   {[]string{"serve", "serve/guard", "serve/pictures"}, "one protocol, whatever answers"},
	"serve/llava": {[]string{"serve", "serve/guard", "serve/pictures", "data/picture"},
		"one protocol, from both ends, whatever answers"},
	"serve/llava/llavatest": {nil, "tests of both ends use it"},
	"serve/controller":      {[]string{"serve/guard", "serve/llava"}, "it knows workers, and no models"},
	"serve/web": {[]string{"serve", "serve/guard", "serve/llava", "serve/pictures", "data/picture"},
		"the page and the models that it shows, wherever they are"},
	"serve/servetest":       {[]string{"serve"}, "an engine for tests of servers"},
	"serve/load":            {nil, "it asks any server, and measures"},
	"serve/web/browsertest": {nil, "tests in a browser, which no package imports"},

	"scripts/chunker": {[]string{"synth/caption/phrase"}, "it learns the weights that the package embeds"},
	"scripts/mutate": {[]string{"checkpoints"},
		"it changes the sources of packages and runs their tests, by go test"},
	"scripts/shapes-base": {[]string{"checkpoints"},
		"a step of making the demo's base, which reads and writes weights"},
}

// everywhere is the package that every package may import.
const everywhere = "runs/failure"

// pure packages build without C, so in seconds and anywhere.
var pure = []string{"benchmarks", "benchmarks/figure", "benchmarks/files", "benchmarks/judge", "benchmarks/rule",
	"recipes", "checkpoints", "data", "data/alike", "data/rows", "data/picture",
	"data/picture/bmp", "data/picture/gif", "data/picture/tiff", "data/tokenizer", "runs", "runs/failure",
	"runs/tensorboard", "report", "report/page", "serve", "serve/controller", "serve/guard", "serve/llava",
	"serve/load", "serve/openai", "serve/pictures", "serve/web",
	"synth", "synth/answer", "synth/caption", "synth/caption/phrase", "synth/chat", "synth/chat/reply",
	"synth/convert", "synth/prompt", "synth/scene", "synth/shapes"}

// connecting are the packages that may open a connection or accept one by package net, and why. The trainer depends on
// none of them. Its own connections, between the processes of a job, are c10d's: see callers.
var connecting = map[string]string{
	"serve/controller":       "it answers web programs, and asks workers",
	"serve/guard":            "it listens",
	"serve/llava":            "it asks workers and controllers",
	"serve/llava/llavatest":  "tests ask it instead of a network",
	"serve/openai":           "it answers by HTTP",
	"serve/load":             "it asks the server that it measures",
	"serve/web":              "it answers browsers",
	"cmd/llavatrain/serving": "it puts the servers' handlers together",
	"synth/chat":             "it asks the endpoint of a recipe",
	"synth/chat/chattest":    "tests ask it instead of an endpoint",
	"synth/synthtest":        "tests ask it instead of an endpoint",
}

// callers are the packages that may use the engine's connections between processes, and why.
var callers = map[string]string{
	"model/torch": "it is the interface to c10d, which opens them",
	"ranks":       "it brings the processes of one job together, and reaches no other",
}

// addresses are packages of net that only parse.
var addresses = []string{"net/url", "net/netip"}

// forbidden packages are gotch's upper layers: they leak, lose errors and end the process (log.Fatal).
var forbidden = []string{"github.com/sugarme/gotch", "github.com/sugarme/gotch/ts", "github.com/sugarme/gotch/nn",
	"github.com/sugarme/gotch/pickle", "github.com/sugarme/gotch/vision"}

// owners are the files that may call torch.Own, because what they make lives longer than a scope.
var owners = map[string]string{
	"model/nn/params.go":     "parameters and their flat buffers",
	"model/nn/joined.go":     "weights that lie together",
	"model/nn/slots.go":      "buffers that gradients and weights of layers take turns with",
	"model/nn/rotary.go":     "the table of angles",
	"model/arena.go":         "the keys and values of generation",
	"model/llava.go":         "the table of normalised pixel levels",
	"model/pass.go":          "features of a prompt's images, until the prompt is computed",
	"model/sight.go":         "the keys and values of images, for generation",
	"model/tile_features.go": "features of images that may be asked about again",
	"train/optimizer.go":     "moments",
	"train/reduce.go":        "gradients in fp32 while they are summed",
	"train/step.go":          "the losses of a step's tokens, until its end",
}

// goPackage is go list's description of a package.
type goPackage struct {
	ImportPath, Dir   string
	Imports, Deps     []string
	GoFiles, CgoFiles []string
	Standard          bool
}

func (p goPackage) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// goList runs go list in the repository's root.
func goList(t *testing.T, environment []string, args ...string) (list []goPackage) {
	t.Helper()
	command := exec.Command("go",
		append([]string{"list", "-json=ImportPath,Dir,Imports,Deps,GoFiles,CgoFiles,Standard"}, args...)...)
	command.Dir, command.Env = filepath.Join("..", ".."), append(os.Environ(), environment...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v", command.Args, err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p goPackage
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func TestPackagesImportOnlyDownwards(t *testing.T) {
	for _, p := range goList(t, nil, "./...") {
		door, known := doors[p.name()]
		if !known {
			t.Errorf("package %s has no row in the table of doors", p.name())
			continue
		}
		for _, imported := range p.Imports {
			if name, ours := strings.CutPrefix(imported, module+"/"); ours && name != everywhere &&
				!slices.Contains(door.imports, name) {
				t.Errorf("%s imports %s, and may import %v only: %s", p.name(), name, door.imports, door.why)
			}
		}
	}
}

// A permission that nobody uses invites use.
func TestEveryDoorIsUsed(t *testing.T) {
	used := map[string][]string{}
	for _, p := range goList(t, nil, "./...") {
		used[p.name()] = p.Imports
	}
	for name, door := range doors {
		for _, folder := range door.imports {
			if !slices.Contains(used[name], module+"/"+folder) {
				t.Errorf("%s may import %s and does not: close the door", name, folder)
			}
		}
		if door.why == "" || used[name] == nil && len(door.imports) > 0 {
			t.Errorf("the row of %s gives no reason, or there is no such package", name)
		}
	}
}

// manyFiles are the folders that may have more than 25 files besides tests, and why.
var manyFiles = map[string]string{
	"model":            "a file for each family, tower and projector",
	"model/torch/shim": "a C++ file for each operation, and headers",
	"data/picture":     "nine of them are the JPEG decoder",
	"benchmarks":       "a file for each benchmark",
}

func TestNoFolderIsCrowded(t *testing.T) {
	const limit = 25
	for name := range doors {
		entries, err := os.ReadDir(filepath.Join("..", "..", name))
		if err != nil {
			t.Errorf("the table of doors has a row for %s: %v", name, err)
		}
		files := 0
		for _, entry := range entries {
			if !entry.IsDir() && !strings.HasSuffix(entry.Name(), "_test.go") {
				files++
			}
		}
		if allowed := manyFiles[name] != ""; allowed != (files > limit) {
			t.Errorf("%s holds %d files besides tests; the limit is %d, and named as an exception: %v", name, files,
				limit, allowed)
		}
	}
}

func TestPurePackagesNeedNoC(t *testing.T) {
	var paths []string
	for _, name := range pure {
		paths = append(paths, "./"+name)
	}
	for _, p := range goList(t, []string{"CGO_ENABLED=1"}, append([]string{"-deps"}, paths...)...) {
		if len(p.CgoFiles) > 0 && !p.Standard {
			t.Errorf("%s uses cgo (%v) and a pure package depends on it", p.ImportPath, p.CgoFiles)
		}
	}
	build := exec.Command("go", append([]string{"build"}, paths...)...)
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Errorf("CGO_ENABLED=0 go build %v: %v\n%s", paths, err, out)
	}
}

func TestGotchIsUsedForItsBindingsAlone(t *testing.T) {
	for _, p := range goList(t, nil, "./...") {
		for _, layer := range forbidden {
			if slices.Contains(p.Deps, layer) {
				t.Errorf("%s depends on %s; only gotch/libtch is used", p.name(), layer)
			}
		}
	}
}

// Models and data come from disk: training opens no connection but those between its own processes, not even to look
// up a Hugging Face id.
func TestNothingOpensAConnection(t *testing.T) {
	used := map[string]bool{}
	for _, p := range goList(t, nil, "./...") {
		for _, imported := range p.Imports {
			if imported != "net" && !strings.HasPrefix(imported, "net/") || slices.Contains(addresses, imported) {
				continue
			}
			if used[p.name()] = true; connecting[p.name()] == "" {
				t.Errorf("%s imports %s", p.name(), imported)
			}
		}
		for _, dependency := range p.Deps {
			name := strings.TrimPrefix(dependency, module+"/")
			if connecting[name] != "" && (p.name() == "train" || p.name() == "cmd/llavatrain/training") {
				t.Errorf("%s depends on %s, which opens connections", p.name(), name)
			}
		}
	}
	for name := range connecting {
		if !used[name] {
			t.Errorf("%s may open connections and does not: close the door", name)
		}
	}
}

// The engine's connections lead to the processes of a job alone: whoever uses them is named, with a reason.
func TestOnlyRanksConnectsProcesses(t *testing.T) {
	used := map[string]bool{"model/torch": true}
	for _, s := range sources(t) {
		for _, function := range []string{"ServeStore", "ConnectStore", "NewGloo", "NewNCCL",
			"LocalAddress"} {
			s.calls("torch."+function, func(line int) {
				if used[path.Dir(s.name)] = true; callers[path.Dir(s.name)] == "" {
					t.Errorf("%s:%d calls torch.%s: only %v connect processes", s.name, line, function, callers)
				}
			})
		}
	}
	for name := range callers {
		if !used[name] {
			t.Errorf("%s may connect processes and does not: close the door", name)
		}
	}
}

// source is a parsed file of the repository that is not a test.
type source struct {
	name string // slash path from the repository's root
	file *ast.File
	set  *token.FileSet
}

func sources(t *testing.T) (list []source) {
	t.Helper()
	for _, p := range goList(t, nil, "./...") {
		for _, base := range slices.Concat(p.GoFiles, p.CgoFiles) {
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, base), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, source{p.name() + "/" + base, file, set})
		}
	}
	if len(list) < 50 {
		t.Fatalf("%d files found", len(list))
	}
	return list
}

func (s source) line(p token.Pos) int { return s.set.Position(p).Line }

// calls visits the calls of a function: "panic", or "os.Exit".
func (s source) calls(function string, visit func(line int)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := ""
		switch f := call.Fun.(type) {
		case *ast.Ident:
			name = f.Name
		case *ast.SelectorExpr:
			if x, ok := f.X.(*ast.Ident); ok {
				name = x.Name + "." + f.Sel.Name
			}
		}
		if name == function {
			visit(s.line(call.Pos()))
		}
		return true
	})
}

func TestLongLivedTensorsAreMadeInNamedFiles(t *testing.T) {
	found := map[string]bool{}
	for _, s := range sources(t) {
		s.calls("torch.Own", func(line int) {
			found[s.name] = true
			if owners[s.name] == "" {
				t.Errorf("%s:%d calls torch.Own: tensors that outlive their scope are made in %v", s.name, line, owners)
			}
		})
	}
	for name := range owners {
		if !found[name] {
			t.Errorf("%s is named as an owner and owns nothing", name)
		}
	}
}

func TestTheProcessEndsInMainAlone(t *testing.T) {
	for _, s := range sources(t) {
		for _, function := range []string{"os.Exit", "syscall.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln"} {
			s.calls(function, func(line int) {
				if path.Base(s.name) != "main.go" {
					t.Errorf("%s:%d calls %s: return an error instead, a command's main.go picks the exit code", s.name,
						line, function)
				}
			})
		}
	}
}

// A panic is for what cannot happen, and a comment says why it cannot: on its line, above it, or on its function.
// torch.Do turns the panics of model/torch into errors.
func TestPanicsSayWhy(t *testing.T) {
	for _, s := range sources(t) {
		if strings.HasPrefix(s.name, "model/torch/") {
			continue
		}
		s.calls("panic", func(line int) {
			explained := slices.ContainsFunc(s.file.Comments, func(c *ast.CommentGroup) bool {
				return s.line(c.Pos()) == line || s.line(c.End()) == line-1
			})
			for _, d := range s.file.Decls {
				f, ok := d.(*ast.FuncDecl)
				explained = explained || ok && s.line(f.Pos()) <= line && line <= s.line(f.End()) &&
					strings.Contains(f.Doc.Text(), "cannot")
			}
			if !explained {
				t.Errorf("%s:%d panics without a comment that says why this cannot happen", s.name, line)
			}
		})
	}
}

func TestNoFileIsNamedForNothing(t *testing.T) {
	for _, s := range sources(t) {
		for _, word := range strings.FieldsFunc(s.name, func(r rune) bool { return r == '/' || r == '.' || r == '_' }) {
			if slices.Contains([]string{"util", "utils", "helper", "helpers", "common", "misc", "types"}, word) {
				t.Errorf("%s: name a file or package for the concept it holds, not %q", s.name, word)
			}
		}
	}
}
