package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/recipes"
)

// newRows are the ids [first, end) of tokens that the recipe adds to the vocabulary. In a file that has no rows for
// them, or only rows that pad its matrices, their rows of the embedding and of the head are the mean of the rows before
// them, as in the original (LLaVA, llava/train/train.py, smart_tokenizer_and_embedding_resize): a new token then starts
// with an average logit, not with one above all others (Hewitt 2021, "Initializing New Word Embeddings").
type newRows struct{ first, end int64 }

func newRowsOf(ids []int32) newRows {
	if len(ids) == 0 {
		return newRows{}
	}
	return newRows{int64(slices.Min(ids)), int64(slices.Max(ids)) + 1}
}

func (n newRows) any() bool { return n.end > 0 }

// rowMultiple is what the number of rows of a grown matrix is a multiple of, so that a GPU multiplies it at full speed.
const rowMultiple = 64

// readGrown is readConfigs with a vocabulary that has room for the new tokens.
func readGrown(m recipes.Model, ids []int32) (folderConfigs, error) {
	c, err := readConfigs(m)
	n := newRowsOf(ids)
	if err != nil || !n.any() {
		return c, err
	}
	config := map[string]any{}
	if err := decodeNumbers(c.language, &config); err != nil {
		return c, fmt.Errorf("model.language: config.json: %w", err)
	}
	number, _ := config["vocab_size"].(json.Number)
	if rows, err := number.Int64(); err != nil || rows >= n.end { // a missing size is reported by the model's family
		return c, nil
	}
	config["vocab_size"] = (n.end + rowMultiple - 1) / rowMultiple * rowMultiple
	c.language, err = json.Marshal(config)
	return c, err
}

// hasTokenRows says whether a parameter has one row for each token of the vocabulary.
func hasTokenRows(p *nn.Param) bool {
	return p.Part == recipes.PartLanguage && !p.Adapter &&
		(p.Name == "lm_head.weight" || strings.HasSuffix(p.Name, "embed_tokens.weight"))
}

// TrainsTokens says whether the embedding or the head trains.
func (m *LLaVA) TrainsTokens() bool {
	return slices.ContainsFunc(m.Params.All(), func(p *nn.Param) bool { return p.Trainable && hasTokenRows(p) })
}

// fit says whether a tensor of a file becomes the parameter by growing.
func (n newRows) fit(p *nn.Param, info checkpoints.Info) bool {
	return n.any() && hasTokenRows(p) && len(info.Shape) == 2 && info.Shape[1] == p.Shape[1] &&
		n.first <= info.Shape[0] && info.Shape[0] <= p.Shape[0]
}

// addTo returns a matrix [V,D] with its new rows, [rows,D].
func (n newRows) addTo(matrix checkpoints.Tensor, rows int64) (checkpoints.Tensor, error) {
	old, width := matrix.Shape[0], matrix.Shape[1]
	size := width * int64(matrix.Dtype.Size())
	used := checkpoints.Tensor{Info: matrix.Info, Data: matrix.Data[:n.first*size]}
	means, err := columnMeans(used, width)
	if err != nil {
		return matrix, err
	}
	row, err := convert(checkpoints.Float32Tensor(matrix.Name, means), matrix.Dtype)
	if err != nil {
		return matrix, err
	}
	grown := checkpoints.Tensor{Info: matrix.Info, Data: make([]byte, 0, rows*size)}
	grown.Shape = []int64{rows, width}
	grown.Data = append(grown.Data, used.Data...)
	for at := n.first; at < rows; at++ {
		if at >= n.end && at < old {
			grown.Data = append(grown.Data, matrix.Data[at*size:][:size]...)
		} else {
			grown.Data = append(grown.Data, row...)
		}
	}
	return grown, nil
}
