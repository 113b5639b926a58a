package input

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
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/llavatrain/llavatrain/data"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/data/tokenizer"
	"github.com/llavatrain/llavatrain/model"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// Preprocessor turns text and images into a model's input, in training, scoring and generation.
type Preprocessor struct {
	Tokenizer *tokenizer.Tokenizer
	Processor *picture.Processor
	Tower     model.TowerShape
	Positions picture.Positions // of each picture, by the configuration of tower and projector
}

// OpenPreprocessor opens the tokenizer and the image processor that belong to a model. Where both fail the error says so of each.
func OpenPreprocessor(m recipes.Model) (_ *Preprocessor, err error) {
	defer failure.MarkInput(&err)
	r := &Preprocessor{}
	if err := failure.Join(r.openVision(m.Vision), r.openTokenizer(m.Language)); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Preprocessor) openVision(v recipes.Vision) (err error) {
	if r.Tower, err = model.DescribeTower(v); err != nil {
		return err
	}
	r.Positions = picture.Grid(r.Tower.Tokens) // every type of projector keeps the tower's rows
	if r.Processor, err = openProcessor(v, r.Tower); err != nil {
		return fmt.Errorf("model.vision: %w", err)
	}
	return nil
}

func (r *Preprocessor) openTokenizer(l recipes.Language) error {
	path, err := tokenizerPath(l)
	if err != nil {
		return err
	}
	if r.Tokenizer, err = tokenizer.OpenTokenizer(path, l.Tokenizer.Legacy); err != nil {
		return fmt.Errorf("model.language.tokenizer: %w", err)
	}
	return nil
}

// Fits makes sure that the language model has a row for every piece of the tokenizer. It may have more: published models are padded.
func (p *Preprocessor) Fits(language model.LanguageShape) error {
	if v := int64(p.Tokenizer.VocabSize()); v > language.VocabSize {
		return failure.Inputf("the tokenizer has %d pieces, the language model's embedding %d rows: they do not belong together. "+
			"Name the model's own tokenizer as model.language.tokenizer.path", v, language.VocabSize)
	}
	return nil
}

// Picture prepares a decoded picture for the tower; aspect is square or pad.
func (p *Preprocessor) Picture(decoded *picture.RGB, aspect string) picture.Picture {
	return picture.Picture{Pixels: p.Processor.Prepare(decoded, aspect), Width: decoded.W, Height: decoded.H}
}

// Input is a batch as the model takes it.
func Input(b data.Batch) model.Input {
	in := model.Input{
		IDs: b.IDs, Positions: b.Positions, Starts: b.Starts, Pixels: b.Pixels, Slots: b.Slots, Rows: b.Rows,
	}
	for _, tile := range b.Tiles {
		in.PictureSamples = append(in.PictureSamples, tile.Sample)
	}
	return in
}

// openProcessor reads the tower's own constants, or takes CLIP's or SigLIP's for a tower without them.
func openProcessor(v recipes.Vision, tower model.TowerShape) (*picture.Processor, error) {
	if v.Weights != "" {
		dir, err := model.TowerFolder(v)
		if err != nil {
			return nil, err
		}
		p, err := picture.OpenProcessor(dir)
		if err == nil && int64(p.Size) != tower.ImageSize {
			err = fmt.Errorf("the image processor of %q makes pictures of %d pixels, config.json wants %d", dir, p.Size, tower.ImageSize)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
	}
	if tower.Processor == "siglip" {
		return picture.SigLIPProcessor(int(tower.ImageSize)), nil
	}
	return picture.CLIPProcessor(int(tower.ImageSize)), nil
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

// Dataset is the opened data of one stage.
type Dataset struct {
	*Preprocessor
	Stage   *recipes.Stage
	Encoder *data.Encoder
	Sources []rows.Source
	Images  []*picture.Images
	Mixture *data.Mixture
	Order   *data.Order
	Steps   data.Plan
}

func OpenDataset(r *recipes.Recipe, stage *recipes.Stage, preprocessor *Preprocessor, report runs.Observer) (*Dataset, error) {
	d, err := OpenRows(r, stage, preprocessor, report)
	if err != nil {
		return nil, err
	}
	if err := d.OpenOrder(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// OpenRows opens everything but the order of the rows. Of several files that cannot be opened the error names each.
func OpenRows(r *recipes.Recipe, stage *recipes.Stage, preprocessor *Preprocessor, report runs.Observer) (*Dataset, error) {
	d := &Dataset{Preprocessor: preprocessor, Stage: stage}
	template, err := data.OpenTemplate(stage.Template)
	if err == nil {
		d.Encoder, err = data.NewEncoder(d.Tokenizer, template, r.Model.Language.MaxLength, d.Positions)
	}
	if err = failure.Join(err, d.openFiles(report)); err == nil {
		err = d.planSteps(r.Seed)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// TryFiles says which files of a stage's data cannot be opened. preprocessor may be nil; it is what shards must have been written for.
func TryFiles(stage *recipes.Stage, preprocessor *Preprocessor, report runs.Observer) error {
	d := &Dataset{Preprocessor: preprocessor, Stage: stage}
	defer d.Close()
	return d.openFiles(report)
}

// openFiles opens all data sets and their pictures.
func (d *Dataset) openFiles(report runs.Observer) error {
	var problems []error
	for i, entry := range d.Stage.Data {
		err := failure.Join(d.openSource(entry, report), d.openImages(entry, report))
		problems = append(problems, failure.Under(fmt.Sprintf("data[%d].", i), err))
	}
	return failure.Join(problems...)
}

// openImages opens the pictures of one data set of the recipe. Its errors start with the key at fault.
func (d *Dataset) openImages(entry recipes.Data, report runs.Observer) error {
	images, err := picture.OpenImages(entry.Images, func(done, total int64) {
		report.Progress("indexing "+filepath.Base(entry.Images), done, total)
	})
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	d.Images = append(d.Images, images)
	return nil
}

// openSource opens the rows of one data set of the recipe. Its errors start with the key at fault.
func (d *Dataset) openSource(entry recipes.Data, report runs.Observer) error {
	if entry.Shards != "" {
		return d.openShards(entry.Shards)
	}
	source, err := runs.OpenPath(entry.Path, report)
	if err != nil {
		return err
	}
	d.Sources = append(d.Sources, source)
	if source.Len() == 0 {
		return failure.Inputf("path: %s holds no rows", entry.Path)
	}
	return nil
}

func (d *Dataset) openShards(dir string) error {
	shards, err := rows.OpenShards(dir)
	if err != nil {
		return fmt.Errorf("shards: %w", err)
	}
	d.Sources = append(d.Sources, shards)
	if d.Preprocessor == nil {
		return nil
	}
	if err := d.suits(shards.Pixels()); err != nil {
		return fmt.Errorf("shards: %s: %w", dir, err)
	}
	return nil
}

// Counts says how many rows each data set has, and how many of them an epoch takes.
func (d *Dataset) Counts() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "data\trows\tweight\tin an epoch")
	for i, source := range d.Sources {
		entry := d.Stage.Data[i]
		rows := source.Len()
		fmt.Fprintf(w, "%s\t%s\t%g\t%s\n", cmp.Or(entry.Path, entry.Shards), runs.Grouped(int64(rows)), entry.Weight,
			runs.Grouped(int64(math.Round(entry.Weight*float64(rows)))))
	}
	w.Flush()
	return b.String()
}

// planSteps mixes the data sets and counts the steps.
func (d *Dataset) planSteps(seed uint64) error {
	shares := make([]data.Share, len(d.Sources))
	for i, source := range d.Sources {
		shares[i] = data.Share{Rows: source.Len(), Weight: d.Stage.Data[i].Weight}
	}
	var err error
	if d.Mixture, err = data.NewMixture(seed, shares); err != nil {
		return err
	}
	if d.Stage.Steps > 0 {
		d.Steps = data.PlanSteps(d.Mixture.Len(), d.Stage.Batch.Global, d.Stage.Steps)
	} else {
		d.Steps = data.PlanEpochs(d.Mixture.Len(), d.Stage.Batch.Global, d.Stage.Epochs)
	}
	return nil
}

func (d *Dataset) OpenOrder() (err error) {
	d.Order, err = data.OpenOrder(d.Stage.Order, d.Mixture, d.Stage.Batch.Global, d.lengths)
	return err
}

func (d *Dataset) lengths() (lengths [][]int32, err error) {
	for _, source := range d.Sources {
		l, err := rows.Lengths(source)
		if err != nil {
			return nil, err
		}
		lengths = append(lengths, l)
	}
	return lengths, nil
}

// Prepare turns one row into numbers. It is safe for concurrent use.
func (d *Dataset) Prepare(_ context.Context, source, row int) (data.Sample, error) {
	see := func(image picture.Image) (picture.Picture, error) { return d.picture(d.Images[source], image) }
	_, sample, err := d.Read(source, row, d.Encoder.Encode, see)
	return sample, err
}

// Encode is the ids and labels of one row, as Prepare gives them. Of its images at most the headers are read, and their
// pixels are missing.
func (d *Dataset) Encode(source, row int) (data.Sample, error) {
	record, err := d.record(source, row)
	if err != nil {
		return data.Sample{}, err
	}
	return d.Encoder.Encode(record, d.imageSizes(source, record.Images))
}

// imageSizes gives the sizes of a row's images, from their headers.
func (d *Dataset) imageSizes(source int, images []picture.Image) data.ImageSizes {
	return func(i int) (width, height int, err error) { return d.Images[source].Size(images[i]) }
}

// record is a row under its id, or its number.
func (d *Dataset) record(source, row int) (rows.Record, error) {
	record, err := d.Sources[source].Record(row)
	if err == nil && record.ID == "" {
		record.ID = "row " + strconv.Itoa(row)
	}
	return record, err
}

// Read takes one row through encode and each of its images through see: what a run does with it, and what a check of
// the data looks at. encode gives the sample with an entry for each image, of which Positions is kept. An image is seen
// once: while the row is encoded if its size is asked for, else afterwards. Of a row that cannot be used Read returns as
// much as there is.
func (d *Dataset) Read(source, row int, encode func(rows.Record, data.ImageSizes) (data.Sample, error),
	see func(picture.Image) (picture.Picture, error)) (rows.Record, data.Sample, error) {
	record, err := d.record(source, row)
	if err != nil {
		return record, data.Sample{ID: record.ID}, err
	}
	pictures := make([]func() (picture.Picture, error), len(record.Images))
	for i, image := range record.Images {
		pictures[i] = sync.OnceValues(func() (picture.Picture, error) { return see(image) })
	}
	sample, err := encode(record, func(i int) (width, height int, err error) {
		picture, err := pictures[i]()
		return picture.Width, picture.Height, err
	})
	if err != nil {
		return record, data.Sample{ID: record.ID}, err
	}
	sample.Data, sample.Row = source, row
	if len(record.Images) > 0 {
		sample.Folder = rows.FolderOf(record.Images[0].Path)
	}
	for i := range pictures {
		picture, err := pictures[i]()
		if err != nil {
			return record, data.Sample{ID: record.ID}, err
		}
		picture.Positions = sample.Images[i].Positions
		sample.Images[i] = picture
	}
	return record, sample, nil
}

// picture prepares one image of a row, from where it lies.
func (d *Dataset) picture(images *picture.Images, image picture.Image) (picture.Picture, error) {
	if image.Prepared != nil {
		return *image.Prepared, nil
	}
	decoded, err := images.Decode(image)
	if err != nil {
		return picture.Picture{}, err
	}
	return d.Picture(decoded, d.Stage.Image), nil
}

// Fingerprints identify by content what the numbers depend on beside the recipe.
func (d *Dataset) Fingerprints() (_ map[string]string, err error) {
	defer failure.MarkInput(&err)
	prints := map[string]string{"processor": HashOf(d.Processor.JSON())}
	file, _ := d.Tokenizer.File()
	tokenizer, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	prints["tokenizer"] = HashOf(tokenizer)
	prints["tokenizer.legacy"] = strconv.FormatBool(d.Tokenizer.Legacy())
	for i, source := range d.Sources {
		prints["data."+strconv.Itoa(i)] = source.Fingerprint()
	}
	return prints, nil
}

func HashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:16])
}

func (d *Dataset) Close() {
	for _, s := range d.Sources {
		s.Close()
	}
	for _, im := range d.Images {
		im.Close()
	}
}

type SkippedRow struct{ Data, Row int }

// WholePass says whether the run takes every row.
func (d *Dataset) WholePass() bool {
	_, end := d.Steps.Span(d.Steps.Steps() - 1)
	return end >= int64(d.Mixture.Len()) && !slices.ContainsFunc(d.Stage.Data, func(entry recipes.Data) bool { return entry.Weight < 1 })
}

// Passes is the step, from 1, in which the distinct rows of bad that have come are more than limit; 0 for none.
func (d *Dataset) Passes(bad map[SkippedRow]bool, limit int) int {
	come := map[SkippedRow]bool{}
	for step := range d.Steps.Steps() {
		first, end := d.Steps.Span(step)
		for position := first; position < end; position++ {
			source, row := d.Order.At(position)
			if at := (SkippedRow{source, row}); bad[at] {
				come[at] = true
			}
		}
		if len(come) > limit {
			return step + 1
		}
	}
	return 0
}

// StorageFault tells a fault of the disk from one of a row.
func StorageFault(err error) bool { return err != nil && !errors.Is(err, picture.ErrRow) }

// CheckBlock is how many rows a worker takes at a time.
const CheckBlock = 512
