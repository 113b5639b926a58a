package shapes

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Options are the sizes of the sets. Zero means the default.
type Options struct {
	Seed uint64

	Pretrain  int // captioned images for stage 1; default 4000
	Finetune  int // images with a conversation for stage 2; default 20000
	Questions int // questions in each held-out set; default 600

	BasePictures      int // images for the base; default 40000
	BaseCaptions      int // captions of them; default 192000
	BaseConversations int // conversations for the base, about images and scenes in words; default 25600
}

func (o Options) withDefaults() Options {
	for _, size := range []struct {
		value    *int
		fallback int
	}{{&o.Pretrain, 4000}, {&o.Finetune, 20000}, {&o.Questions, 600}, {&o.BasePictures, 40000},
		{&o.BaseCaptions, 192000}, {&o.BaseConversations, 25600}} {
		if *size.value == 0 {
			*size.value = size.fallback
		}
	}
	return o
}

// Question is one entry of a held-out set, asked separately about its image.
type Question struct {
	Image  string `json:"image"` // file name in the folder images
	Form   string `json:"form"`  // color, shape, position, object, count, neighbor or relation
	Text   string `json:"question"`
	Answer string `json:"answer"`
	Guess  string `json:"guess"` // the most common answer to questions of this form in stage 2's training rows
}

// WriteDemo writes the data of the demo below dir: pretrain.json (captions) and finetune.json (conversations of five to
// seven questions), the held-out sets new.json (new scenes of familiar pairs) and unseen.json (every scene has a pair
// that is in no training data, and the questions are about it if their form allows), and their images in images. Equal
// options give equal files. In a new folder the JSON files are written last: if they exist, the images are complete.
// progress, unless nil, is called with the number of images written.
func WriteDemo(dir string, options Options, progress func(done, total int)) error {
	o := options.withDefaults()
	pretrain, pictures := captions(o.Seed, "pretrain", o.Pretrain)
	finetune, asked, more := conversations(o.Seed, "finetune", o.Finetune)
	guesses := commonest(asked)
	pictures = append(pictures, more...)
	fresh, more := questions(o.Seed, "new", o.Questions, guesses)
	pictures = append(pictures, more...)
	unseen, more := questions(o.Seed, "unseen", o.Questions, guesses)
	pictures = append(pictures, more...)

	if err := writePictures(filepath.Join(dir, "images"), pictures, progress); err != nil {
		return err
	}
	if err := writeArray(filepath.Join(dir, "pretrain.json"), pretrain); err != nil {
		return err
	}
	if err := writeArray(filepath.Join(dir, "finetune.json"), finetune); err != nil {
		return err
	}
	if err := writeArray(filepath.Join(dir, "new.json"), fresh); err != nil {
		return err
	}
	return writeArray(filepath.Join(dir, "unseen.json"), unseen)
}

// ReadQuestions reads a held-out set that WriteDemo wrote.
func ReadQuestions(path string) ([]Question, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("questions: %w", err)
	}
	var questions []Question
	if err := json.Unmarshal(content, &questions); err != nil {
		return nil, fmt.Errorf("questions in %s: %w", path, err)
	}
	return questions, nil
}

// captions draws n images, each with its caption as the answer to a prompt before or after the image.
func captions(seed uint64, set string, n int) (rows []row, pictures []picture) {
	for i := range n {
		r := newStream(seed, set, i)
		p := picture{itemName(set, i) + ".png", trainingScene(r)}
		prompt := "<image>\n" + pick(r, captionPrompts)
		if r.intN(2) == 0 {
			prompt = pick(r, captionPrompts) + "\n<image>"
		}
		rows = append(rows, row{itemName(set, i), p.name,
			[]message{{"human", prompt}, {"gpt", tell(r, p.scene.objects)}}})
		pictures = append(pictures, p)
	}
	return rows, pictures
}

// conversations draws n images with five to seven questions each, five if there is only one object. It also returns the
// questions.
func conversations(seed uint64, set string, n int) (rows []row, asked []ask, pictures []picture) {
	for i := range n {
		r := newStream(seed, set, i)
		p := picture{itemName(set, i) + ".png", trainingScene(r)}
		asks := converse(r, p.scene, 5+r.intN(3), false)
		rows = append(rows, row{ID: itemName(set, i), Image: p.name, Conversations: dialog("<image>", asks)})
		asked = append(asked, asks...)
		pictures = append(pictures, p)
	}
	return rows, asked, pictures
}

// questions draws images, with three questions on each, until there are n questions. The set "unseen" is the one with
// held-out pairs.
func questions(seed uint64, set string, n int, guesses map[string]string) (all []Question, pictures []picture) {
	draw, held := trainingScene, set == "unseen"
	if held {
		draw = unseenScene
	}
	for i := 0; len(all) < n; i++ {
		r := newStream(seed, set, i)
		p := picture{itemName(set, i) + ".png", draw(r)}
		for _, a := range converse(r, p.scene, 3, held) {
			all = append(all, Question{p.name, a.form, a.text, a.answer, guesses[a.form]})
		}
		pictures = append(pictures, p)
	}
	return all, pictures
}

// commonest maps each form to its most common answer; ties go to the first by name.
func commonest(asked []ask) map[string]string {
	type key struct{ form, answer string }
	counts, best := map[key]int{}, map[string]string{}
	for _, a := range asked {
		counts[key{a.form, a.answer}]++
	}
	for k, n := range counts {
		most := counts[key{k.form, best[k.form]}]
		if n > most || n == most && k.answer < best[k.form] {
			best[k.form] = k.answer
		}
	}
	return best
}
