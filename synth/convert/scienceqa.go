package convert

import "strings"

// readScienceQA reads ScienceQA: problems by number, and the numbers of each split. The question has the form of
// llava_test_CQM-A.json, the question file of LLaVA's evaluation, with the line that the evaluation adds; the answer is
// the letter. White space within the texts stays, as it does there. A problem without picture is a row without image.
func readScienceQA(c *conversion) error {
	split := c.Split
	if split == "" {
		split = "train"
	}
	numbers, err := readSplit(c.files[1], split)
	if err != nil {
		return err
	}
	rows := map[string]*row{} // nil: dropped, or not read yet
	for _, id := range numbers {
		rows[id] = nil
	}
	read := map[string]bool{}
	err = readTable(c.files[0], func(id string, e entry) error {
		if _, wanted := rows[id]; !wanted {
			c.pass("problems of other splits")
			return nil
		}
		if read[id] {
			return e.fault("the problem appears twice")
		}
		read[id] = true
		rows[id], err = c.problem(id, e)
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range numbers {
		if !read[id] {
			c.drop("no problem of that number")
		} else if r := rows[id]; r != nil {
			if err := c.emit(id, *r); err != nil {
				return err
			}
		}
	}
	return nil
}

// readSplit reads the numbers of one split.
func readSplit(path, split string) ([]string, error) {
	var numbers []string
	listed := map[string]bool{}
	err := readLists(path, map[string]visit{split: func(e entry) error {
		var id string
		if err := e.decode(&id); err != nil {
			return err
		}
		if err := e.fileName(id); err != nil {
			return err
		}
		if listed[id] {
			return e.fault("problem %s appears twice", shortened(id))
		}
		listed[id] = true
		numbers = append(numbers, id)
		return nil
	}})
	return numbers, err
}

// problem makes the row of a problem, nil if it is dropped.
func (c *conversion) problem(id string, e entry) (*row, error) {
	var p struct {
		Question *string  `json:"question"`
		Choices  []string `json:"choices"`
		Answer   *int     `json:"answer"`
		Hint     string   `json:"hint"`
		Image    *string  `json:"image"`
	}
	if err := e.decode(&p); err != nil {
		return nil, err
	}
	switch {
	case p.Question == nil:
		return nil, e.lacks("question")
	case p.Choices == nil:
		return nil, e.lacks("choices")
	}
	image := ""
	if p.Image != nil {
		if err := e.fileName(*p.Image); err != nil {
			return nil, err
		}
		image = id + "/" + *p.Image
	}
	fault := choiceFault(p.Choices, p.Answer)
	if fault == "" && strings.TrimSpace(*p.Question) == "" {
		fault = "no question"
	}
	if fault != "" {
		c.drop(fault)
		return nil, nil
	}
	question := *p.Question + lettered(p.Choices)
	if strings.TrimSpace(p.Hint) != "" {
		question = "Context: " + p.Hint + "\n" + question
	}
	one := pair{strings.TrimSpace(question), letter(*p.Answer)}
	if !c.sound(one) {
		return nil, nil
	}
	r := c.row(id, image, letterLine, []pair{one})
	return &r, nil
}
