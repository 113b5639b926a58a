package rule

import "strings"

// contractions are words and what they become (VQA's evaluator, vqaEval.py). A row lists, behind what is left out, the
// words that it is left out of: "dont" becomes "don't". The few that follow no pattern stand in irregular.
var contractions = makeContractions()

// Where the apostrophe of a word goes, counted from its end.
var apostropheAt = map[int]string{
	1: "aint arent cant couldnt didnt doesnt dont hadnt hasnt havent isnt mightnt mustnt neednt oughtnt shant " +
		"shouldnt wasnt werent wont wouldnt hed itd someoned somethingd thered theyd whered whod youd Im hes hows " +
		"somebodys someones thats theres whats wheres whos whys whens",
	2: "couldve Ive mightve mustve notve shouldve theyve weve whatve whereve whove wouldve youve howll itll " +
		"somebodyll someonell somethingll theyll whatll wholl whyll youll therere theyre whatre whyre youre",
}

var irregular = map[string]string{
	"couldn'tve": "couldn't've", "couldnt've": "couldn't've", "hadnt've": "hadn't've", "hadn'tve": "hadn't've",
	"hed've": "he'd've", "he'dve": "he'd've", "howd": "how'd", "Id've": "I'd've", "I'dve": "I'd've",
	"itd've": "it'd've", "it'dve": "it'd've", "let's": "let's", "maam": "ma'am",
	"mightnt've": "mightn't've", "mightn'tve": "mightn't've", "oclock": "o'clock",
	"ow's'at": "'ow's'at", "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at",
	"shed've": "she'd've", "she'dve": "she'd've", "she's": "she's",
	"shouldnt've": "shouldn't've", "shouldn'tve": "shouldn't've",
	"somebody'd": "somebodyd", "somebodyd've": "somebody'd've", "somebody'dve": "somebody'd've",
	"someoned've": "someone'd've", "someone'dve": "someone'd've",
	"somethingd've": "something'd've", "something'dve": "something'd've",
	"thered've": "there'd've", "there'dve": "there'd've", "theyd've": "they'd've", "they'dve": "they'd've",
	"twas": "'twas", "wed've": "we'd've", "we'dve": "we'd've", "whod've": "who'd've", "who'dve": "who'd've",
	"wouldnt've": "wouldn't've", "wouldn'tve": "wouldn't've",
	"yall": "y'all", "yall'll": "y'all'll", "y'allll": "y'all'll",
	"yall'd've": "y'all'd've", "y'alld've": "y'all'd've", "y'all'dve": "y'all'd've",
	"youd've": "you'd've", "you'dve": "you'd've",
}

func makeContractions() map[string]string {
	all := map[string]string{}
	for at, list := range apostropheAt {
		for _, word := range strings.Fields(list) {
			all[word] = word[:len(word)-at] + "'" + word[len(word)-at:]
		}
	}
	for word, is := range irregular {
		all[word] = is
	}
	return all
}
