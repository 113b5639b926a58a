package score

import (
	"reflect"
	"slices"
	"testing"

	"github.com/llavatrain/llavatrain/recipes"
)

// Of a stage that is scored only the rows and how they are drawn differ: every other key, and any that will be added,
// stays, because it may say how a row is read.
func TestStageOfKeepsHowRowsAreRead(t *testing.T) {
	replaced := []string{"Data", "Order", "Batch", "Epochs", "Steps"}
	stage := recipes.Stage{}
	fields := reflect.ValueOf(&stage).Elem()
	for i := range fields.NumField() {
		switch f := fields.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("kept")
		case reflect.Int:
			f.SetInt(3)
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		case reflect.Map:
			f.Set(reflect.MakeMap(f.Type()))
		}
	}
	rows := []recipes.Data{{Path: "held.json"}}
	got := StageOf(&stage, rows)
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		kept := reflect.DeepEqual(fields.Field(i).Interface(), reflect.ValueOf(got).Elem().Field(i).Interface())
		if kept == slices.Contains(replaced, name) {
			t.Errorf("%s: kept is %v", name, kept)
		}
	}
	if got.Epochs != 1 || got.Steps != 0 || got.Order != "sequential" || len(stage.Data) != 0 {
		t.Errorf("scored as %+v", got)
	}
}
