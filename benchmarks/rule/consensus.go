package rule

// Consensus is the accuracy of VQA (Antol et al. 2015, https://visualqa.org/evaluation.html): for each person, a third
// of the matches among the other people's answers, at most 1; and the mean of that. It is 0 to 1. Prediction and
// answers are compared as they are.
func Consensus(prediction string, people []string) float64 {
	if len(people) == 0 {
		return 0
	}
	matches := 0
	for _, answer := range people {
		if answer == prediction {
			matches++
		}
	}
	sum := 0.0
	for _, answer := range people {
		others := matches
		if answer == prediction {
			others--
		}
		sum += min(1, float64(others)/3)
	}
	return sum / float64(len(people))
}

// NormalConsensus is Consensus of what a normaliser makes of both sides.
func NormalConsensus(prediction string, people []string, normal func(string) string) float64 {
	list := make([]string, len(people))
	for i, answer := range people {
		list[i] = normal(answer)
	}
	return Consensus(normal(prediction), list)
}

// OfficialConsensus is that of VQA's evaluator, which normalises only if people disagree: "Yes" against ten times "yes"
// scores 0. Line breaks and tabs become spaces in any case, and white space around is cut off.
func OfficialConsensus(prediction string, people []string) float64 {
	for _, answer := range people {
		if oneLine(answer) != oneLine(people[0]) {
			return NormalConsensus(prediction, people, Official)
		}
	}
	return NormalConsensus(prediction, people, oneLine)
}
