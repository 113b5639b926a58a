package train

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
)

// Reading is what a stage and a generation share: how text and pictures become numbers for a model.
type Reading struct {
	Tokenizer *data.Tokenizer
	Processor *data.Processor
	Tower     model.TowerShape
}

// OpenReading opens the tokenizer and the image processor that belong to a model.
func OpenReading(m recipes.Model) (*Reading, error) {
	r := &Reading{}
	var err error
	if r.Tower, err = model.DescribeTower(m.Vision); err != nil {
		return nil, err
	}
	if r.Processor, err = openProcessor(m.Vision, r.Tower); err != nil {
		return nil, fmt.Errorf("model.vision: %w", err)
	}
	path, err := tokenizerPath(m.Language)
	if err != nil {
		return nil, err
	}
	if r.Tokenizer, err = data.OpenTokenizer(path, m.Language.Tokenizer.Legacy); err != nil {
		return nil, fmt.Errorf("model.language.tokenizer: %w", err)
	}
	return r, nil
}

// Fits makes sure that the language model has a row for every piece of the tokenizer. It may have more: published models are padded.
func (r *Reading) Fits(language model.LanguageShape) error {
	if v := int64(r.Tokenizer.VocabSize()); v > language.VocabSize {
		return fmt.Errorf("the tokenizer has %d pieces, the language model's embedding %d rows: they do not belong together. Name the model's own tokenizer as model.language.tokenizer.path", v, language.VocabSize)
	}
	return nil
}

// Picture prepares a decoded picture for the tower; aspect is square or pad.
func (r *Reading) Picture(decoded *data.RGB, aspect string) data.Picture {
	return data.Picture{Pixels: r.Processor.Prepare(decoded, aspect), Width: decoded.W, Height: decoded.H}
}

// Input is a batch as the model takes it.
func Input(b data.Batch) model.Input {
	return model.Input{IDs: b.IDs, Positions: b.Positions, Starts: b.Starts, Pixels: b.Pixels, Slots: b.Slots, Rows: b.Rows}
}

// openProcessor reads the tower's own constants, or takes CLIP's or SigLIP's for a tower without them.
func openProcessor(v recipes.Vision, tower model.TowerShape) (*data.Processor, error) {
	if v.Weights != "" {
		dir, err := model.TowerFolder(v)
		if err != nil {
			return nil, err
		}
		p, err := data.OpenProcessor(dir)
		if err == nil && int64(p.Size) != tower.ImageSize {
			err = fmt.Errorf("the image processor of %q makes pictures of %d pixels, config.json wants %d", dir, p.Size, tower.ImageSize)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
	}
	if tower.Processor == "siglip" {
		return data.SigLIPProcessor(int(tower.ImageSize)), nil
	}
	return data.CLIPProcessor(int(tower.ImageSize)), nil
}

func tokenizerPath(l recipes.Language) (string, error) {
	if l.Tokenizer.Path != "" {
		return l.Tokenizer.Path, nil
	}
	if l.Weights == "" {
		return "", errors.New("model.language.tokenizer.path is needed where model.language has no weights folder")
	}
	dir, err := model.Resolve(l.Weights)
	if err != nil {
		return "", fmt.Errorf("model.language.weights: %w", err)
	}
	return dir, nil
}

// dataset is the opened data of one stage.
type dataset struct {
	*Reading
	stage   *recipes.Stage
	encoder *data.Encoder
	sources []data.Source
	images  []*data.Images
	mixture *data.Mixture
	order   *data.Order
	steps   data.Plan
}

func openDataset(r *recipes.Recipe, stage *recipes.Stage, reading *Reading, report Report) (*dataset, error) {
	d, err := openRows(r, stage, reading, report)
	if err != nil {
		return nil, err
	}
	if err := d.openOrder(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// openRows opens everything but the order of the rows.
func openRows(r *recipes.Recipe, stage *recipes.Stage, reading *Reading, report Report) (*dataset, error) {
	d := &dataset{Reading: reading, stage: stage}
	template, err := data.OpenTemplate(stage.Template)
	if err == nil {
		d.encoder, err = data.NewEncoder(d.Tokenizer, template, r.Model.Language.MaxLength, int(d.Tower.Tokens))
	}
	if err == nil {
		err = d.openSources(report)
	}
	if err == nil {
		err = d.planSteps(r.Seed)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *dataset) openSources(report Report) error {
	for i, entry := range d.stage.Data {
		if err := d.openEntry(entry, report); err != nil {
			return fmt.Errorf("data[%d].%w", i, err)
		}
	}
	return nil
}

// openEntry opens one data set of the recipe. Its errors start with the key at fault.
func (d *dataset) openEntry(entry recipes.Data, report Report) error {
	source, err := d.openSource(entry, report)
	if err != nil {
		return err
	}
	d.sources = append(d.sources, source)
	if source.Len() == 0 {
		return fmt.Errorf("path: %s holds no rows", entry.Path)
	}
	images, err := data.OpenImages(entry.Images, func(done, total int64) {
		report.Progress("indexing "+filepath.Base(entry.Images), done, total)
	})
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	d.images = append(d.images, images)
	return nil
}

func (d *dataset) openSource(entry recipes.Data, report Report) (data.Source, error) {
	if entry.Shards == "" {
		return openPath(entry.Path, report)
	}
	shards, err := data.OpenShards(entry.Shards)
	if err == nil {
		if err = d.suits(shards.Pixels()); err == nil {
			return shards, nil
		}
		err = errors.Join(fmt.Errorf("%s: %w", entry.Shards, err), shards.Close())
	}
	return nil, fmt.Errorf("shards: %w", err)
}

func openPath(path string, report Report) (data.Source, error) {
	source, err := data.Open(path, func(done, total int64) { report.Progress("indexing "+filepath.Base(path), done, total) })
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	return source, nil
}

// counts says how many rows each data set has, and how many of them an epoch takes.
func (d *dataset) counts() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "data\trows\tweight\tin an epoch")
	for i, source := range d.sources {
		entry := d.stage.Data[i]
		rows := source.Len()
		fmt.Fprintf(w, "%s\t%s\t%g\t%s\n", cmp.Or(entry.Path, entry.Shards), grouped(int64(rows)), entry.Weight,
			grouped(int64(math.Round(entry.Weight*float64(rows)))))
	}
	w.Flush()
	return b.String()
}

// planSteps mixes the data sets and counts the steps.
func (d *dataset) planSteps(seed uint64) error {
	shares := make([]data.Share, len(d.sources))
	for i, source := range d.sources {
		shares[i] = data.Share{Rows: source.Len(), Weight: d.stage.Data[i].Weight}
	}
	var err error
	if d.mixture, err = data.NewMixture(seed, shares); err != nil {
		return err
	}
	if d.stage.Steps > 0 {
		d.steps = data.PlanSteps(d.mixture.Len(), d.stage.Batch.Global, d.stage.Steps)
	} else {
		d.steps = data.PlanEpochs(d.mixture.Len(), d.stage.Batch.Global, d.stage.Epochs)
	}
	return nil
}

func (d *dataset) openOrder() (err error) {
	d.order, err = data.OpenOrder(d.stage.Order, d.mixture, d.stage.Batch.Global, d.lengths)
	return err
}

func (d *dataset) lengths() (lengths [][]int32, err error) {
	for _, source := range d.sources {
		l, err := data.Lengths(source)
		if err != nil {
			return nil, err
		}
		lengths = append(lengths, l)
	}
	return lengths, nil
}

// prepare turns one row into numbers. It is safe for concurrent use.
func (d *dataset) prepare(_ context.Context, source, row int) (data.Sample, error) {
	_, sample, err := d.read(source, row, d.encoder.Encode, func(image data.Image) (data.Picture, error) { return d.picture(d.images[source], image) })
	return sample, err
}

// read takes one row through encode and each of its images through see: what a run does with it, and what a check of the data looks at.
// Of a row that cannot be used it returns as much as there is.
func (d *dataset) read(source, row int, encode func(data.Record) (data.Sample, error), see func(data.Image) (data.Picture, error)) (data.Record, data.Sample, error) {
	record, err := d.sources[source].Record(row)
	if err != nil {
		return record, data.Sample{ID: record.ID}, err
	}
	if record.ID == "" {
		record.ID = "row " + strconv.Itoa(row)
	}
	sample, err := encode(record)
	if err != nil {
		return record, data.Sample{ID: record.ID}, err
	}
	sample.Source, sample.Row = source, row
	if len(record.Images) > 0 {
		sample.Folder = data.FolderOf(record.Images[0].Path)
	}
	for _, image := range record.Images {
		picture, err := see(image)
		if err != nil {
			return record, data.Sample{ID: record.ID}, err
		}
		sample.Images = append(sample.Images, picture)
	}
	return record, sample, nil
}

// picture prepares one image of a row, from where it lies.
func (d *dataset) picture(images *data.Images, image data.Image) (data.Picture, error) {
	if image.Prepared != nil {
		return *image.Prepared, nil
	}
	decoded, err := images.Decode(image)
	if err != nil {
		return data.Picture{}, err
	}
	return d.Picture(decoded, d.stage.Image), nil
}

// fingerprints identify by content what the numbers depend on beside the recipe.
func (d *dataset) fingerprints() (map[string]string, error) {
	prints := map[string]string{"processor": hashOf(d.Processor.JSON())}
	file, _ := d.Tokenizer.File()
	tokenizer, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	prints["tokenizer"] = hashOf(tokenizer)
	prints["tokenizer.legacy"] = strconv.FormatBool(d.Tokenizer.Legacy())
	for i, source := range d.sources {
		prints["data."+strconv.Itoa(i)] = source.Fingerprint()
	}
	return prints, nil
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:16])
}

func (d *dataset) close() {
	for _, s := range d.sources {
		s.Close()
	}
	for _, im := range d.images {
		im.Close()
	}
}
