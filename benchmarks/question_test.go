package benchmarks

import "testing"

// Questions about the same picture have one name for it, without which an engine would compute it again.
func TestQuestionsNameTheirPictures(t *testing.T) {
	for name, folder := range map[string]string{"mmbench_en": "mmbench_en", "mme": "hub/MME"} {
		set := opened(t, name, recorded(t, folder), "", ToScore)
		same := map[string]int{}
		for i := range set.Questions {
			q := &set.Questions[i]
			if q.About() == "" || !q.Held() {
				t.Fatalf("%s: question %s names its picture %q, held: %v", name, q.ID, q.About(), q.Held())
			}
			same[q.About()]++
		}
		if len(same) == len(set.Questions) {
			t.Errorf("%s: no two of %d questions are about the same picture", name, len(same))
		}
	}
}

// Pictures that lie in the set's files need no folder of their own.
func TestPictureFolderIsThere(t *testing.T) {
	for name, folder := range map[string]string{"mme": recorded(t, "hub", "MME"), "gqa": recorded(t, "hub", "GQA")} {
		if set := opened(t, name, folder, "", ToScore); set.PictureFolder != folder {
			t.Errorf("%s: pictures in %s, want %s", name, set.PictureFolder, folder)
		}
	}
}

// Test-dev's figure needs the answers to its questions alone, although the upload holds all of test2015.
func TestWantedQuestions(t *testing.T) {
	set := opened(t, "vqav2", recorded(t, "vqav2_test"), "", ToSubmit)
	wanted := 0
	for i := range set.Questions {
		wanted += count(set.Wanted(i))
	}
	if wanted == 0 || wanted == len(set.Questions) {
		t.Errorf("%d of %d questions are wanted", wanted, len(set.Questions))
	}
}

// Conditions are the same wherever answers end, and whether or not the temperature is the same variable.
func TestSameConditions(t *testing.T) {
	zero, one := new(float64), new(float64)
	*one = 1
	base := Conditions{Step: 1, Template: "plain", Temperature: zero}
	for _, c := range []struct {
		other Conditions
		same  bool
	}{
		{Conditions{Step: 1, Template: "plain", Temperature: new(float64), Cut: true}, true},
		{Conditions{Step: 2, Template: "plain", Temperature: zero}, false},
		{Conditions{Step: 1, Template: "plain", Temperature: one}, false},
		{Conditions{Step: 1, Template: "plain"}, false},
	} {
		if base.Same(c.other) != c.same || c.other.Same(base) != c.same {
			t.Errorf("%+v and %+v: same is %v", base, c.other, !c.same)
		}
	}
}
