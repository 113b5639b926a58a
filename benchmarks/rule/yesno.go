package rule

import "strings"

// YesNo is what an answer to a closed question says.
type YesNo string

// Unclear is an answer that says neither.
const (
	Yes     YesNo = "yes"
	No      YesNo = "no"
	Unclear YesNo = ""
)

// POPE is the reading of LLaVA's eval_pope.py: no, if the first sentence has the word No, no or not; anything else is
// yes, "Nope" and an empty answer too.
func POPE(answer string) YesNo {
	sentence, _, _ := strings.Cut(answer, ".")
	for _, word := range strings.Split(strings.ReplaceAll(sentence, ",", ""), " ") {
		if word == "No" || word == "no" || word == "not" {
			return No
		}
	}
	return Yes
}

// Exact takes nothing but yes and no, in any case and with white space around (lmms-eval's POPE).
func Exact(answer string) YesNo {
	if read := YesNo(Fold(answer)); read == Yes || read == No {
		return read
	}
	return Unclear
}

// MME is the reading of MME's calculation.py: yes or no anywhere in the first four characters, so that "know" is no.
func MME(answer string) YesNo {
	answer = lower(answer)
	if answer == "yes" || answer == "no" {
		return YesNo(answer)
	}
	return among(answer)
}

// MMEOfLMMS is lmms-eval's, without white space around and periods, and with the single letters.
func MMEOfLMMS(answer string) YesNo {
	answer = strings.ReplaceAll(Fold(answer), ".", "")
	switch answer {
	case "y":
		return Yes
	case "n":
		return No
	}
	return among(answer)
}

// among looks at the first four characters. Yes is looked for first.
func among(answer string) YesNo {
	if head := []rune(answer); len(head) > 4 {
		answer = string(head[:4])
	}
	for _, read := range []YesNo{Yes, No} {
		if strings.Contains(answer, string(read)) {
			return read
		}
	}
	return Unclear
}
