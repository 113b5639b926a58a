package tokenizer

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// realRow is a line of expected.jsonl, which scripts/reference/real_tokenizers.py writes.
type realRow struct {
	Text    *string // nil: ids are random
	IDs     []int32
	Decoded string
	Lost    bool // the ids do not hold all of the text
}

// TestRealTokenizers compares published tokenizers with Hugging Face's library. LLAVATRAIN_REAL_TOKENIZERS names the
// folder that scripts/reference/real_tokenizers.py made.
func TestRealTokenizers(t *testing.T) {
	root := os.Getenv("LLAVATRAIN_REAL_TOKENIZERS")
	if root == "" {
		t.Skip("LLAVATRAIN_REAL_TOKENIZERS names no folder")
	}
	folders, err := filepath.Glob(filepath.Join(root, "*", "expected.jsonl"))
	if err != nil || len(folders) == 0 {
		t.Fatalf("%s has no tokenizers (%v)", root, err)
	}
	for _, expected := range folders {
		folder := filepath.Dir(expected)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			content, err := os.ReadFile(expected)
			if err != nil {
				t.Fatal(err)
			}
			rows := datatest.Lines[realRow](t, content, expected)
			compareReal(t, folder, rows)
		})
	}
}

// compareReal compares the tokenizer in folder with its rows.
func compareReal(t *testing.T, folder string, rows []realRow) {
	tokenizer, err := OpenTokenizer(folder, "auto")
	if err != nil {
		t.Fatal(err)
	}
	texts, equal, lost := 0, 0, 0
	for _, row := range rows {
		if got := tokenizer.Decode(row.IDs); got != row.Decoded {
			t.Errorf("%v decodes to %q, want %q", row.IDs, got, row.Decoded)
		}
		if row.Text == nil {
			continue
		}
		texts++
		tokens := tokenizer.Encode(*row.Text)
		if diff := cmp.Diff(row.IDs, idsOf(tokens)); diff != "" {
			t.Errorf("%q (-Hugging Face +this):\n%s", *row.Text, diff)
			continue
		}
		equal++
		missing := tokenizer.Missing(*row.Text)
		if (missing != "") != row.Lost {
			t.Errorf("%q: character without a token is %q, text is lost: %t", *row.Text, missing, row.Lost)
		}
		if missing == "" {
			checkOffsets(t, *row.Text, tokens)
		} else {
			lost++
		}
	}
	t.Logf("%d texts, %d equal, %d of them with characters that have no token", texts, equal, lost)
}
