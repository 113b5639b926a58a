package model

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/model/nn"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// A projector works only with the language model and the tower that it was trained with, even if others have the same
// widths. So the metadata of its file hold an identity of each: 64 weights spread over the part's layers, as bf16 in
// hexadecimal. Two identities match if nine weights in ten agree, so that a model in a different dtype or layout is
// recognised and a different fine-tuning is not.
const (
	identityWeights = 64
	identityAgrees  = 58
	identityPrefix  = "llavatrain."
	settingsKey     = identityPrefix + "settings" // of the projector itself, if its type has any
)

// identified are the parts that a projector belongs to, as messages call them.
var identified = []struct{ part, name string }{
	{recipes.PartLanguage, "language model"},
	{recipes.PartVision, "vision tower"},
}

// isLayers says whether a parameter belongs to a layer of a list: layers, or layer in DINOv2.
func isLayers(name string) bool {
	return strings.Contains(name, ".layers.") || strings.Contains(name, ".layer.")
}

// identity reads the identity of a part from the tensors that at finds; "" for a part without files.
func identity(ps *nn.Params, part string, at func(p *nn.Param) (assignment, error)) (string, error) {
	var matrices []*nn.Param
	for _, p := range ps.All() {
		if p.Part == part && !p.Adapter && len(p.Shape) == 2 && isLayers(p.Name) {
			matrices = append(matrices, p)
		}
	}
	if len(matrices) == 0 {
		return "", nil
	}
	var bits []byte
	for i := range identityWeights {
		p := matrices[i*len(matrices)/identityWeights]
		a, err := at(p)
		if err != nil || a.weights == nil {
			return "", err
		}
		x, err := a.element(p.Elements() * int64(2*i+1) / (2 * identityWeights))
		if err != nil {
			return "", err
		}
		bits = append(bits, byte(x>>8), byte(x))
	}
	return hex.EncodeToString(bits), nil
}

// element is one value of a tensor, rounded to bf16 (to nearest, ties to even).
func (a assignment) element(index int64) (uint16, error) {
	tensor, err := a.weights.Tensor(a.info.Name)
	if err != nil {
		return 0, err
	}
	size := int64(tensor.Dtype.Size())
	one := checkpoints.Tensor{Info: checkpoints.Info{Name: tensor.Name, Dtype: tensor.Dtype, Shape: []int64{1}},
		Data: tensor.Data[index*size:][:size]}
	var values []float32
	err = failure.ReadMapped(func() error {
		values, err = one.Float32s()
		return err
	})
	if err != nil {
		return 0, err
	}
	if a.change != nil {
		added, err := a.change.at(index/a.info.Shape[1], index%a.info.Shape[1])
		if err != nil {
			return 0, err
		}
		values[0] += added
	}
	bits := math.Float32bits(values[0])
	return uint16((bits + 0x7fff + bits>>16&1) >> 16), nil
}

// sameIdentity says whether two identities match.
func sameIdentity(a, b string) bool {
	agree := 0
	for i := 0; i+4 <= min(len(a), len(b)); i += 4 {
		if a[i:i+4] == b[i:i+4] {
			agree++
		}
	}
	return agree >= identityAgrees
}

// checkProjector refuses a projector whose file says that it belongs to a different language model or tower. Files
// without identities pass, and so does any file if that is accepted.
func (ss *sources) checkProjector(ps *nn.Params, accepted bool) error {
	metadata, where := ss.projectorMetadata()
	if accepted {
		return nil
	}
	for _, row := range identified {
		theirs := metadata[identityPrefix+row.part]
		if theirs == "" {
			continue
		}
		ours, err := identity(ps, row.part, ss.base)
		if err != nil {
			return err
		}
		if ours != "" && !sameIdentity(theirs, ours) {
			return failure.Inputf("model.projector.weights: %s was trained with a different %s than %s: "+
				"name the one it belongs to, pretrain a projector for this one, or accept it with "+
				"--accept model.projector.weights",
				where, row.name, ss.named(row.part))
		}
	}
	return nil
}

// named are the files of a part, as messages name them.
func (ss *sources) named(part string) string {
	name := ss.parts[part].where
	if part == recipes.PartVision && ss.second != nil && ss.second.where != name {
		name += " and " + ss.second.where
	}
	return name
}

// checkSettings refuses a projector whose file records other settings than the recipe's: not all of them show in the
// tensors.
func (ss *sources) checkSettings(projector *source) error {
	recorded, asked := projector.weights.Metadata()[settingsKey], settingsOf(ss.asked)
	if recorded == "" || recorded == asked {
		return nil
	}
	was, is := differing(recorded, asked)
	return failure.Inputf("%s: %s was trained with %s, and the recipe has %s: set model.projector to the former, or "+
		"name other weights", projector.key, projector.where, was, is)
}

// differing lists the settings that two texts of settingsOf have differently, as the first has them and as the second.
func differing(a, b string) (first, second string) {
	var x, y map[string]any
	if json.Unmarshal([]byte(a), &x) != nil {
		return a, b
	}
	json.Unmarshal([]byte(orDefault(b, "{}")), &y)
	var here, there []string
	for _, key := range slices.Sorted(maps.Keys(x)) {
		if !reflect.DeepEqual(x[key], y[key]) {
			here = append(here, fmt.Sprintf("%s %v", key, x[key]))
			there = append(there, fmt.Sprintf("%s %v", key, y[key]))
		}
	}
	return strings.Join(here, ", "), strings.Join(there, ", ")
}

// settingsOf is a projector's type and settings as one text; "" for a type without settings.
func settingsOf(p recipes.Projector) string {
	settings := p.Settings()
	if settings == nil {
		return ""
	}
	settings["type"] = p.Type
	text, err := json.Marshal(settings)
	if err != nil {
		panic(err) // settings hold text and numbers alone
	}
	return string(text)
}

// projectorMetadata are the metadata of the file that the projector comes from.
func (ss *sources) projectorMetadata() (metadata map[string]string, where string) {
	if s := ss.parts[recipes.PartProjector]; s != nil && ss.projectorIn == "" {
		return s.weights.Metadata(), s.where
	}
	metadata = map[string]string{}
	if ss.projectorIn != "" {
		for _, w := range ss.adapters.opened {
			maps.Copy(metadata, w.Metadata())
		}
	}
	return metadata, ss.projectorIn
}

// identities are the identities of the opened parts, overlays included, as metadata of a projector's file.
func (ss *sources) identities(ps *nn.Params) (map[string]string, error) {
	metadata := map[string]string{}
	for _, row := range identified {
		id, err := identity(ps, row.part, ss.find)
		if err != nil {
			return nil, err
		}
		if id != "" {
			metadata[identityPrefix+row.part] = id
		}
	}
	if settings := settingsOf(ss.asked); settings != "" {
		metadata[settingsKey] = settings
	}
	return metadata, nil
}

// Belongs is the metadata of a projector's file: the identities of the parts that the model was opened with, except
// the given parts, whose weights have changed since.
func (m *LLaVA) Belongs(changed ...string) map[string]string {
	metadata := map[string]string{}
	for key, id := range m.identities {
		if !slices.Contains(changed, strings.TrimPrefix(key, identityPrefix)) {
			metadata[key] = id
		}
	}
	return metadata
}
