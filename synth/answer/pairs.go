package answer

// half is a question or an answer, as it was found.
type half struct {
	question bool
	text     string // tidy
}

// dialogue reads questions and answers, in JSON or under markers, and lets a kind make a result of their pairs.
func (a *reading) dialogue(text string, result func(pairs []Turn) Result) Result {
	halves, ok := jsonHalves(text)
	if ok {
		a.repaired(inJSON)
	} else {
		var failed *Result
		if halves, failed = a.markedHalves(text); failed != nil {
			return *failed
		}
	}
	pairs := a.paired(halves)
	if len(pairs) == 0 {
		return a.retry(shape)
	}
	return result(pairs)
}

// paired joins each question to the answer that follows it.
func (a *reading) paired(halves []half) (pairs []Turn) {
	var question *half
	for i, h := range halves {
		switch {
		case h.question:
			if question != nil {
				a.repaired(unanswered)
			}
			question = &halves[i]
			continue
		case question == nil:
			a.repaired(strayAnswer)
		case question.text == "" || h.text == "":
			a.repaired(emptyTurn)
		default:
			pairs = append(pairs, Turn{question.text, h.text})
		}
		question = nil
	}
	if question != nil {
		a.repaired(unanswered)
	}
	return pairs
}

// reasoning takes the first pair.
func (a *reading) reasoning(pairs []Turn) Result {
	if len(pairs) > 1 {
		a.repaired(extraTurns)
	}
	reason := a.fault(check(pairs[0].Question), check(pairs[0].Answer), shortestReasoning)
	if reason != "" {
		return reject(reason)
	}
	return a.accept(pairs[0])
}

// conversation takes the pairs without a fault, each once.
func (a *reading) conversation(pairs []Turn) Result {
	firstFault := ""
	var kept []Turn
	seen := map[[2]string]bool{}
	for _, pair := range pairs {
		question, answer := check(pair.Question), check(pair.Answer)
		said := [2]string{question.joined, answer.joined}
		if reason := a.fault(question, answer, 0); reason != "" {
			a.repaired(droppedTurn)
			if firstFault == "" {
				firstFault = reason
			}
		} else if seen[said] {
			a.repaired(repeatedTurn)
		} else {
			seen[said] = true
			kept = append(kept, pair)
		}
	}
	if len(kept) < fewestTurns {
		if firstFault != "" {
			return reject(firstFault)
		}
		return a.retry(tooFewTurns)
	}
	if len(kept) > mostTurns {
		a.repaired(extraTurns)
		kept = kept[:mostTurns]
	}
	return a.accept(kept...)
}

// fault is the reason for dropping a pair, "" if there is none.
func (a *reading) fault(question, answer checked, fewest int) string {
	if reason := a.filters.faultIn(answer); reason != "" {
		return reason
	}
	if reason := a.filters.faultInQuestion(question); reason != "" {
		return reason
	}
	return length(answer, fewest)
}

// length is the reason for dropping an answer of too few or too many words, "" if there is none.
func length(answer checked, fewest int) string {
	switch {
	case answer.count() < fewest:
		return tooShort
	case answer.count() > longest:
		return tooLong
	}
	return ""
}
