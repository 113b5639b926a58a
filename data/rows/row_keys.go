package rows

import (
	"fmt"
	"slices"
	"strconv"
)

// rowColumns are the columns that a row is made of, and those whose content is refused.
var rowColumns = func() map[string]bool {
	columns := map[string]bool{}
	for _, key := range []string{"id", "image", "images", "conversations", "messages", "system", "system_prompt",
		"weight", "loss", "train"} {
		columns[key] = true
	}
	for key := range unsupportedKeys {
		columns[key] = true
	}
	return columns
}()

// unusedColumns are the columns of a table, in their order, that rows are not made of.
func unusedColumns(columns []string) []string {
	return slices.DeleteFunc(columns, func(name string) bool { return rowColumns[name] || name == faultColumn })
}

// unsupportedKeys are the keys of a row or a turn that change what it means and that a model of text and images cannot
// use, and what to do about them. Training on the rest of such a row would teach answers without what they rest on.
var unsupportedKeys = map[string]string{
	"video": noVideo, "videos": noVideo,
	"audio": noSound, "audios": noSound,
	"objects": "holds boxes, which are not put into the text: write them there and remove the key",
}

const (
	noVideo = "is present, and videos are not read: give frames of it as images, or remove the row"
	noSound = "is present, and sound is not read: remove the row"
)

// turnImages is what a turn's own key for images is refused with.
const turnImages = "is a key of a turn: put the images of all turns into the row's images, " +
	"and <image> into the text where each belongs"

// unknown refuses a key that changes what the row means, and lists any other by its name.
func (r *rowReader) unknown(key, name string, value []byte) error {
	if isEmpty(value) {
		return nil
	}
	if why, ok := unsupportedKeys[key]; ok {
		return fmt.Errorf("%s %s", key, why)
	}
	if key == "image" || key == "images" { // the row's own are read elsewhere
		return fmt.Errorf("%s %s", key, turnImages)
	}
	if !slices.Contains(r.record.Unused, name) {
		r.record.Unused = append(r.record.Unused, name)
	}
	return nil
}

// readTrained reads whether a turn is trained, as OpenAI's weight (0 or 1), ms-swift's loss and axolotl's train (true
// or false) say it.
func readTrained(key string, value []byte) (bool, error) {
	switch string(value) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	number, err := strconv.ParseFloat(string(value), 64)
	if kindOf(value) != "a number" || err != nil || number != 0 && number != 1 {
		return false, fmt.Errorf("%s is %s; only 0 or false (not trained) and 1 or true (trained) are supported",
			key, value)
	}
	return number == 1, nil
}
