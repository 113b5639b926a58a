package benchmarks

import (
	"strings"

	"github.com/llavatrain/llavatrain/benchmarks/files"
	"github.com/llavatrain/llavatrain/benchmarks/rule"
)

// TextVQA 0.5.1 (Singh et al. 2019), val. LLaVA's question file gives the words that an OCR program found, which is
// worth about twelve points; lmms-eval leaves them out.
var textVQA = &Benchmark{
	Name: "textvqa", Title: "TextVQA", Hub: "lmms-lab/textvqa", Limit: 128, pictures: "train_images",
	Files: []string{textQuestions, textLabels},
	Rules: []Rule{
		{Name: "original", What: "accuracy of VQA, both sides normalised as in M4C; asked with OCR tokens",
			mark: byConsensus(rule.M4C)},
		{Name: "lmms", What: "the same; asked without OCR tokens", mark: byConsensus(rule.M4C)},
		{Name: "vlmeval", What: "accuracy of VQA, both sides normalised as by VLMEvalKit",
			mark: byConsensus(rule.VLMEval)},
	},
	read: readTextVQA,
}

const (
	textQuestions = "llava_textvqa_val_v051_ocr.jsonl"
	textLabels    = "TextVQA_0.5.1_val.json"
	ocrLine       = "Reference OCR token: "
)

// textLabel is an entry of TextVQA's file, and a row of the hub's set.
type textLabel struct {
	ID       int    `json:"question_id"`
	Image    string `json:"image_id"`
	Question string
	Answers  []string
	Tokens   []string `json:"ocr_tokens"`
}

func readTextVQA(r *reading) error {
	r.promptKey = textQuestion
	if !r.Has(textQuestions) {
		return readTextVQAHub(r)
	}
	r.Split = "val"
	if err := r.llava(textQuestions); err != nil {
		return err
	}
	file, err := files.Document[struct{ Data []textLabel }](r.Folder, textLabels)
	if err != nil {
		return err
	}
	labels := map[[2]string][]textLabel{}
	for _, l := range file.Data {
		at := [2]string{l.Image, strings.ToLower(l.Question)}
		labels[at] = append(labels[at], l)
	}
	without := 0
	for i := range r.Questions {
		q := &r.Questions[i]
		at := [2]string{q.ID.text, textQuestion(q.Text)}
		if len(labels[at]) == 0 {
			without++
			continue
		}
		q.answers = labels[at][0].Answers
		labels[at] = labels[at][1:]
		if r.rule == "lmms" {
			q.Text = withoutTokens(q.Text)
			q.Prompt = q.Text
		}
	}
	return otherRelease(textQuestions, textLabels, without, len(file.Data)-len(r.Questions)+without)
}

// textQuestion cuts the question out of a prompt, as LLaVA's eval_textvqa.py does, and lowers it.
func textQuestion(prompt string) string {
	lines := strings.Split(prompt, "\n")
	_, behind, marked := strings.Cut(prompt, "Question: ")
	question, _, ended := strings.Cut(behind, " Short answer:")
	switch {
	case strings.HasPrefix(prompt, "OCR tokens: ") && marked && ended:
		return strings.ToLower(question)
	case len(lines) == 3 && strings.HasPrefix(prompt, "Reference OCR token:"):
		return strings.ToLower(lines[1])
	case len(lines) == 3 && strings.Contains(prompt, ocrLine), len(lines) == 2:
		return strings.ToLower(lines[0])
	}
	return strings.ToLower(prompt)
}

// withoutTokens leaves out the line of OCR tokens.
func withoutTokens(text string) string {
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, ocrLine) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

func readTextVQAHub(r *reading) error {
	if err := r.open("val", "data/validation-*.parquet"); err != nil {
		return err
	}
	columns := []string{"question_id", "image_id", "question", "answers", "ocr_tokens"}
	return files.EachRow(r.hub, columns, func(row int, l textLabel) error {
		text := rule.Sentence(l.Question)
		if r.rule != "lmms" {
			text += "\n" + ocrLine + strings.Join(l.Tokens, ", ")
		}
		r.add(Question{ID: textID(l.Image), Text: text + shortAnswer, Image: l.Image, key: key{answers: l.Answers},
			images: r.held(row, "image")})
		return nil
	})
}
