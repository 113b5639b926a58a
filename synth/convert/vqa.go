package convert

import "strconv"

// readVQA reads VQAv2 and OK-VQA: questions in one file, their answers by question_id in another.
func readVQA(c *conversion) error {
	answers, err := readAnswers(c.files[1])
	if err != nil {
		return err
	}
	pictures := newGroups[int64, pair]()
	err = readLists(c.files[0], map[string]visit{"questions": func(e entry) error {
		var q struct {
			ID       *int64  `json:"question_id"`
			Picture  *int64  `json:"image_id"`
			Question *string `json:"question"`
		}
		if err := e.decode(&q); err != nil {
			return err
		}
		switch {
		case q.ID == nil:
			return e.lacks("question_id")
		case q.Picture == nil:
			return e.lacks("image_id")
		case q.Question == nil:
			return e.lacks("question")
		case *q.Picture < 0:
			return e.fault("image_id is %d", *q.Picture)
		}
		answer, known := answers[*q.ID]
		if !known {
			c.drop("no annotation")
			return nil
		}
		delete(answers, *q.ID)
		if p := (pair{tidy(*q.Question), answer}); c.sound(p) {
			pictures.add(*q.Picture, p)
		}
		return nil
	}})
	if err != nil {
		return err
	}
	if len(answers) > 0 {
		c.report.Passed["annotations without a question"] = len(answers)
	}
	return pictures.each(func(picture int64, pairs []pair) error {
		id := strconv.FormatInt(picture, 10)
		return c.emit(id, c.row(id, coco(picture), shortLine, pairs))
	})
}

// readAnswers reads the answers by question_id. Questions without one that can be used have "".
func readAnswers(path string) (map[int64]string, error) {
	answers := map[int64]string{}
	err := readLists(path, map[string]visit{"annotations": func(e entry) error {
		var a struct {
			ID      *int64 `json:"question_id"`
			Chosen  string `json:"multiple_choice_answer"`
			Answers []struct {
				Answer string `json:"answer"`
			} `json:"answers"`
		}
		if err := e.decode(&a); err != nil {
			return err
		}
		if a.ID == nil {
			return e.lacks("question_id")
		}
		if a.Chosen == "" && a.Answers == nil {
			return e.lacks("answers")
		}
		if _, twice := answers[*a.ID]; twice {
			return e.fault("question_id %d appears twice", *a.ID)
		}
		all := make([]string, len(a.Answers))
		for i, answer := range a.Answers {
			all[i] = answer.Answer
		}
		answer := answered(a.Chosen)
		if answer == "" {
			answer = answered(mostFrequent(all))
		}
		answers[*a.ID] = answer
		return nil
	}})
	return answers, err
}

// mostFrequent is the text, apart from white space, that is most often in the list; of several the first; "" if all
// are empty.
func mostFrequent(texts []string) (best string) {
	counts := map[string]int{}
	for _, text := range texts {
		counts[tidy(text)]++
	}
	delete(counts, "")
	for _, text := range texts {
		if text = tidy(text); counts[text] > counts[best] {
			best = text
		}
	}
	return best
}
