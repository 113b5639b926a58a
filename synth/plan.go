package synth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs/failure"
	"github.com/llavatrain/llavatrain/synth/answer"
	"github.com/llavatrain/llavatrain/synth/scene"
)

// Skip is a scene that gives no row, and why. Kind is "" if it gives none of any kind.
type Skip struct {
	Scene  string      `json:"scene"`
	Image  string      `json:"image"`
	Kind   answer.Kind `json:"kind,omitempty"`
	Reason string      `json:"reason"`
}

// Reasons for leaving scenes out, besides those of package scene.
const (
	missingImage = "missing_image"
	excluded     = "excluded"     // it is in one of the files that the recipe excludes
	sameContext  = "same_context" // another scene has the same captions and boxes, and gets the row
)

// annotations are the scenes that may be asked about, and what became of the others.
type annotations struct {
	scenes  []scene.Scene // their images' paths are relative to images
	skipped []Skip
	dropped scene.Counts // captions and objects that went
	images  string       // folder
}

// readAnnotations reads all sets of a recipe.
func readAnnotations(ctx context.Context, s *recipes.Synth, exclude *exclusion,
	say func(string)) (*annotations, error) {
	all := &annotations{dropped: scene.Counts{}, images: commonFolder(s.Scenes)}
	ids := map[string]int{}
	for i, files := range s.Scenes {
		scenes, skipped := len(all.scenes), len(all.skipped)
		set, err := readSet(ctx, files, scene.Options{KeepSuspect: s.Untrusted == "keep"})
		if err != nil {
			return nil, fmt.Errorf("synth.scenes.%d: %w", i, err)
		}
		for reason, n := range set.Dropped() {
			all.dropped[reason] += n
		}
		for _, skipped := range set.Skipped {
			all.skip(skipped.Scene, string(skipped.Reason))
		}
		if err := all.add(ctx, files, set.Scenes, ids, i, exclude); err != nil {
			return nil, fmt.Errorf("synth.scenes.%d: %w", i, err)
		}
		text := fmt.Sprintf("%s: %d scenes", name(files), len(all.scenes)-scenes)
		if out := all.skipped[skipped:]; len(out) > 0 {
			text += fmt.Sprintf(", %d left out (%s)", len(out), counted(out))
		}
		say(text)
	}
	if len(all.scenes) == 0 {
		return nil, failure.Inputf("no scene is left to ask about: %s", counted(all.skipped))
	}
	return all, nil
}

func readSet(ctx context.Context, files recipes.Scenes, o scene.Options) (*scene.Set, error) {
	switch files.Format {
	case recipes.SceneJSONL:
		return scene.ReadJSONL(ctx, files.File, o)
	case recipes.SceneVisualGenome:
		return scene.ReadVisualGenome(ctx, files.Regions, files.ImageData, o)
	}
	return scene.ReadCOCO(ctx, files.Captions, files.Instances, o)
}

func name(files recipes.Scenes) string {
	return filepath.Base(cmp.Or(files.Captions, files.File, files.Regions))
}

func (a *annotations) skip(one scene.Scene, reason string) {
	a.skipped = append(a.skipped, Skip{Scene: one.ID, Image: one.Image, Reason: reason})
}

// add takes the scenes of set number i that can be used. An id that an earlier set has gets the set's number in front.
func (a *annotations) add(ctx context.Context, files recipes.Scenes, scenes []scene.Scene, ids map[string]int, i int,
	exclude *exclusion) error {
	missing, err := scene.Missing(ctx, files.Images, scenes)
	if err != nil {
		return err
	}
	if len(missing) == len(scenes) && len(scenes) > 0 {
		return failure.Inputf("none of the %d images is in the folder %s, which lacks %s for example", len(scenes),
			files.Images, scenes[0].Image)
	}
	lacks := map[int]bool{}
	for _, at := range missing {
		lacks[at] = true
	}
	for at, one := range scenes {
		path := one.Image
		if !filepath.IsAbs(path) {
			path = filepath.Join(files.Images, path)
		}
		if relative, err := filepath.Rel(a.images, path); err == nil {
			one.Image = filepath.ToSlash(relative)
		}
		if first, again := ids[one.ID]; again && first != i {
			one.ID = strconv.Itoa(i+1) + ":" + one.ID
		}
		ids[one.ID] = i
		switch {
		case lacks[at]:
			a.skip(one, missingImage)
		case exclude.named(path):
			a.skip(one, excluded)
		default:
			a.scenes = append(a.scenes, one)
		}
	}
	return nil
}

// commonFolder is the deepest folder that holds the images of all sets, which a training recipe names.
func commonFolder(sets []recipes.Scenes) string {
	common := sets[0].Images
	for _, set := range sets[1:] {
		for !within(common, set.Images) {
			common = filepath.Dir(common)
		}
	}
	return common
}

func within(folder, path string) bool {
	relative, err := filepath.Rel(folder, path)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}

// shares parts rows among the kinds by their shares, whole rows by the largest remainder.
func shares(rows int, k recipes.Kinds) map[answer.Kind]int {
	weights := map[answer.Kind]int{
		answer.Conversation: k.Conversation, answer.Detail: k.Detail, answer.Reasoning: k.Reasoning}
	total, left := k.Conversation+k.Detail+k.Reasoning, rows
	order, targets := slices.Clone(answer.Kinds[:]), map[answer.Kind]int{}
	for _, kind := range order {
		targets[kind] = rows * weights[kind] / total
		left -= targets[kind]
	}
	slices.SortStableFunc(order, func(a, b answer.Kind) int {
		return cmp.Compare(rows*weights[b]%total, rows*weights[a]%total)
	})
	for _, kind := range order[:left] {
		targets[kind]++
	}
	return targets
}

// rank orders by a hash of the seed and the texts, so that a choice of some does not depend on how many there are.
func rank(seed uint64, texts ...string) [sha256.Size]byte {
	return sha256.Sum256([]byte(strconv.FormatUint(seed, 10) + "\x00" + strings.Join(texts, "\x00")))
}

// counted lists the reasons of skips, the commonest first.
func counted(skips []Skip) string {
	counts := map[string]int{}
	for _, s := range skips {
		counts[s.Reason]++
	}
	return listed(counts)
}

// listed is counts in words, the largest first: "3 shape, 1 refusal".
func listed(counts map[string]int) string {
	var parts []string
	for _, reason := range byCount(counts) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[reason], reason))
	}
	if len(parts) == 0 {
		return "there was none"
	}
	return strings.Join(parts, ", ")
}
