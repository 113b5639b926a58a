package rows

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llavatrain/llavatrain/data/datatest"
)

// The columns that are asked for come as JSON, without the images; these come alone.
func TestTableReadsNamedColumns(t *testing.T) {
	table, err := OpenTable(datatest.Shared(t, "parity-bench", "hub", "MMMU", "data",
		"validation-00000-of-00001.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	rows := 0
	err = table.Read([]string{"id", "options", "image_1"}, func(row int, text []byte) error {
		var r map[string]any
		if err := json.Unmarshal(text, &r); err != nil {
			return err
		}
		if row != rows || r["id"] == "" || !strings.HasPrefix(r["options"].(string), "[") || r["question"] != nil ||
			strings.Contains(string(text), "PNG") {
			t.Errorf("row %d: %s", row, text)
		}
		rows++
		return nil
	})
	if err != nil || rows == 0 || rows != table.Len() {
		t.Fatalf("%d of %d rows, %v", rows, table.Len(), err)
	}
	images, err := table.Images(0, "image_1", "image_2", "image_3")
	if err != nil || len(images) == 0 || len(images[0].File) == 0 {
		t.Errorf("%d images, %v", len(images), err)
	}
	again, err := table.Images(0, "image_2")
	if err != nil || len(again) >= len(images) && len(images) > 1 {
		t.Errorf("%d of %d images, %v", len(again), len(images), err)
	}
	err = table.Read([]string{"id", "label"}, func(int, []byte) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "it has no column label; it has answer,") {
		t.Errorf("a column that is not there: %v", err)
	}
}

func TestTableRefusesWhatIsNoParquet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.parquet")
	if err := os.WriteFile(path, []byte("PAR1 and nothing else"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTable(path); err == nil || !strings.Contains(err.Error(), "no parquet file") {
		t.Errorf("%v", err)
	}
	if _, err := OpenTable(path + "x"); err == nil {
		t.Error("a missing file is opened")
	}
}
