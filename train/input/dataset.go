package input

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/llavatrain/llavatrain/checkpoints"
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
	Tokenizer  *tokenizer.Tokenizer
	Processors []*picture.Processor // of each tower
	Tower      model.TowerShape
	Projector  model.ProjectorShape
	Tiling     *picture.Tiling // how images of any resolution are laid out; nil: the model has no tiles
}

// OpenPreprocessor opens the tokenizer and the image processor that belong to a model. Where both fail the error says
// so of each.
func OpenPreprocessor(m recipes.Model) (_ *Preprocessor, err error) {
	defer failure.MarkInput(&err)
	r := &Preprocessor{}
	if err := failure.Join(r.openVision(m), r.openTokenizer(m.Language)); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Preprocessor) openVision(m recipes.Model) (err error) {
	if r.Tower, err = model.DescribeTower(m.Vision); err != nil {
		return err
	}
	if r.Projector, err = model.DescribeProjector(m.Projector, r.Tower); err != nil {
		return err
	}
	tiles, err := model.TilesOf(m)
	if err != nil {
		return err
	}
	if r.Tiling, err = newTiling(tiles, r.Tower, r.Projector); err != nil {
		return err
	}
	r.Processors, err = openProcessors(m.Vision, r.Tower)
	return err
}

// Positions says how images of an aspect, square, pad or anyres, are laid out. With square and pad an image is one tile
// and takes a position for each of its features; in a model that has a newline and no list of sizes, one more.
func (r *Preprocessor) Positions(aspect string) (picture.Positions, error) {
	switch sized := r.Tiling != nil && len(r.Tiling.Pinpoints) > 0; {
	case aspect != recipes.AnyResolution && (r.Tiling == nil || sized):
		return picture.Grid(r.Projector.Tokens), nil
	case aspect != recipes.AnyResolution:
		return picture.Single{Tiling: r.Tiling}, nil
	case !sized:
		return nil, failure.Inputf("image: anyres needs model.tiles, with the sizes that images may take: " +
			"add tiles: {pinpoints: ...} to model")
	}
	return r.Tiling, nil
}

func (r *Preprocessor) openTokenizer(l recipes.Language) error {
	path, err := tokenizerPath(l)
	if err != nil {
		return err
	}
	if r.Tokenizer, err = tokenizer.OpenTokenizer(path, l.Tokenizer.Legacy, l.Tokenizer.Add...); err != nil {
		return fmt.Errorf("model.language.tokenizer: %w", err)
	}
	return nil
}

// Fits checks that the language model's embedding has a row for every piece of the tokenizer. It may have more:
// published models pad it.
func (p *Preprocessor) Fits(language model.LanguageShape) error {
	if v := int64(p.Tokenizer.VocabSize()); v > language.VocabSize {
		return failure.Inputf("the tokenizer has %d pieces, but the language model's embedding only %d rows: "+
			"they do not belong together; set model.language.tokenizer.path to the model's own tokenizer",
			v, language.VocabSize)
	}
	return nil
}

// NewTokens are the ids that model.language.tokenizer.add gave to new tokens.
func (p *Preprocessor) NewTokens() (ids []int32) {
	for _, token := range p.Tokenizer.NewTokens() {
		ids = append(ids, token.ID)
	}
	return ids
}

// Input turns a batch into the model's input.
func Input(b data.Batch) model.Input {
	in := model.Input{
		IDs: b.IDs, Positions: b.Positions, Starts: b.Starts, Pixels: b.Pixels, Slots: b.Slots, Rows: b.Rows,
		Newlines: b.Newlines,
	}
	for _, v := range b.Views {
		in.Views = append(in.Views, model.View(v))
	}
	for _, m := range b.Maps {
		in.Maps = append(in.Maps, model.Map{From: m.From, Rows: int64(m.Rows), Columns: int64(m.Columns),
			ToRows: int64(m.ToRows), ToColumns: int64(m.ToColumns)})
	}
	for _, tile := range b.Tiles {
		in.PictureSamples = append(in.PictureSamples, tile.Sample)
	}
	return in
}

func tokenizerPath(l recipes.Language) (string, error) {
	if l.Tokenizer.Path != "" {
		return l.Tokenizer.Path, nil
	}
	if l.Weights == "" {
		return "", errors.New("model.language.tokenizer.path is needed when model.language has no weights folder")
	}
	dir, adapters, err := model.LanguageFolder(l)
	if err == nil {
		err = model.RefuseOther(dir)
	}
	if err != nil {
		return "", fmt.Errorf("model.language.weights: %w", err)
	}
	for _, name := range []string{"tokenizer.model", "tokenizer.json"} { // adapters may come with their own
		if checkpoints.Exists(filepath.Join(adapters, name)) && adapters != "" {
			return adapters, nil
		}
	}
	return dir, nil
}

// Dataset is the opened data of one stage. Close it after use.
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

// OpenDataset opens the data sets of a stage and the order of its rows. Errors name the recipe's key.
func OpenDataset(
	r *recipes.Recipe, stage *recipes.Stage, preprocessor *Preprocessor, report runs.Observer,
) (*Dataset, error) {
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
func OpenRows(
	r *recipes.Recipe, stage *recipes.Stage, preprocessor *Preprocessor, report runs.Observer,
) (*Dataset, error) {
	d := &Dataset{Preprocessor: preprocessor, Stage: stage}
	template, err := OpenTemplate(r.Model, stage.Template)
	if err == nil {
		d.Encoder, err = preprocessor.Encoder(template, r.Model.Language.MaxLength, stage.Image)
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

// Encoder makes the encoder of a template for images of an aspect.
func (p *Preprocessor) Encoder(template *data.Template, maxLength int, aspect string) (*data.Encoder, error) {
	positions, err := p.Positions(aspect)
	if err != nil {
		return nil, err
	}
	return data.NewEncoder(p.Tokenizer, template, maxLength, positions)
}

// OpenTemplate opens the template of a stage, with the model's own system text if it has one.
func OpenTemplate(m recipes.Model, name string) (*data.Template, error) {
	template, err := data.OpenTemplate(name)
	if err != nil {
		return nil, err
	}
	return template.WithSystem(m.Language.System)
}

// TryFiles says which files of a stage's data cannot be opened. preprocessor may be nil; it is what shards must have
// been written for.
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
	images, err := picture.OpenImages(entry.Images, picture.Options{
		MaxPixels: d.Stage.MaxPixels, Orientation: d.Stage.Turn == recipes.TurnByEXIF,
		Progress: func(done, total int64) {
			report.Progress("indexing "+filepath.Base(entry.Images), done, total)
		},
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

// Counts is a table of how many rows each data set has and how many an epoch takes.
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

// planSteps mixes the data sets and plans the steps.
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

// OpenOrder opens the order of the rows; the grouped order reads every row's length for it.
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

// SkipLimit is how many distinct rows a run may skip.
func (d *Dataset) SkipLimit() int {
	switch rows, bad := d.Mixture.Rows(), d.Stage.BadSamples; {
	case bad.Policy == "fail":
		return 0
	case bad.Limit == "":
		return data.SkipLimit(rows)
	default:
		return bad.Limit.Of(rows)
	}
}

// Prepare turns one row into a sample, with the pixels of its images. It is safe for concurrent use.
func (d *Dataset) Prepare(_ context.Context, source, row int) (data.Sample, error) {
	see := func(image picture.Image, several bool) (picture.Picture, error) {
		return d.picture(d.Images[source], image, several)
	}
	_, sample, err := d.Read(source, row, d.Encoder.Encode, see)
	return sample, err
}

// Encode is Prepare without pixels: at most the headers of the row's images are read.
func (d *Dataset) Encode(_ context.Context, source, row int) (data.Sample, error) {
	record, err := d.record(source, row)
	if err != nil {
		return data.Sample{ID: record.ID}, err
	}
	sample, err := d.Encoder.Encode(record, d.imageSizes(source, record.Images))
	if err != nil {
		return data.Sample{ID: record.ID}, err
	}
	sample.Data, sample.Row, sample.Folder = source, row, d.FolderOf(source, record)
	return sample, nil
}

// imageSizes gives the sizes of a row's images, from their headers.
func (d *Dataset) imageSizes(source int, images []picture.Image) data.ImageSizes {
	return func(i int) (width, height int, err error) { return d.Images[source].Size(images[i]) }
}

// record reads a row; one without an id is called by its number.
func (d *Dataset) record(source, row int) (rows.Record, error) {
	record, err := d.Sources[source].Record(row)
	if err == nil && record.ID == "" {
		record.ID = "row " + strconv.Itoa(row)
	}
	return record, err
}

// Read passes one row to encode and each of its images to see. Runs and checks of the data both read rows by it. encode
// returns the sample with an entry for each image, of which the Layout is kept. see is called once for an image: while
// the row is encoded if encode asks for its size, afterwards if not. For a row that cannot be used, Read returns as
// much as it has read, and the error.
func (d *Dataset) Read(source, row int, encode func(rows.Record, data.ImageSizes) (data.Sample, error),
	see func(image picture.Image, several bool) (picture.Picture, error)) (rows.Record, data.Sample, error) {
	record, err := d.record(source, row)
	if err != nil {
		return record, data.Sample{ID: record.ID}, err
	}
	pictures := make([]func() (picture.Picture, error), len(record.Images))
	several := len(record.Images) > 1
	for i, image := range record.Images {
		pictures[i] = sync.OnceValues(func() (picture.Picture, error) { return see(image, several) })
	}
	sample, err := encode(record, func(i int) (width, height int, err error) {
		picture, err := pictures[i]()
		return picture.Width, picture.Height, err
	})
	if err != nil {
		return record, data.Sample{ID: record.ID}, err
	}
	sample.Data, sample.Row = source, row
	sample.Folder = d.FolderOf(source, record)
	for i := range pictures {
		picture, err := pictures[i]()
		if err != nil {
			return record, data.Sample{ID: record.ID}, err
		}
		picture.Layout = sample.Images[i].Layout
		sample.Images[i] = picture
	}
	return record, sample, nil
}

// FolderOf is rows.FolderOf for a row's first image, whether its path is relative or absolute; "" without an image.
func (d *Dataset) FolderOf(source int, r rows.Record) string {
	if len(r.Images) == 0 {
		return ""
	}
	return rows.FolderOf(d.Images[source].Local(r.Images[0].Path))
}

// picture prepares one image of a row, read from images or held by the row itself.
func (d *Dataset) picture(images *picture.Images, image picture.Image, several bool) (picture.Picture, error) {
	if image.Prepared != nil {
		return *image.Prepared, nil
	}
	decoded, err := images.Decode(image)
	if err != nil {
		return picture.Picture{}, err
	}
	return d.Picture(decoded, d.Stage.Image, several), nil
}

// Fingerprints identify, by content, the files that the numbers depend on in addition to the recipe.
func (d *Dataset) Fingerprints() (_ map[string]string, err error) {
	defer failure.MarkInput(&err)
	prints := map[string]string{"processor": HashOf(d.Processors[0].JSON())}
	if len(d.Processors) > 1 {
		prints["processor.1"] = HashOf(d.Processors[1].JSON())
	}
	file, _ := d.Tokenizer.File()
	tokenizer, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for _, token := range d.Tokenizer.NewTokens() {
		tokenizer = fmt.Appendf(tokenizer, "\n%d %q", token.ID, token.Text)
	}
	prints["tokenizer"] = HashOf(tokenizer)
	prints["tokenizer.legacy"] = strconv.FormatBool(d.Tokenizer.Legacy())
	for i, source := range d.Sources {
		prints["data."+strconv.Itoa(i)] = source.Fingerprint()
	}
	return prints, nil
}

// HashOf is the first half of the content's SHA-256, in hexadecimal.
func HashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:16])
}

// Close closes all data sets and image folders.
func (d *Dataset) Close() {
	for _, s := range d.Sources {
		s.Close()
	}
	for _, im := range d.Images {
		im.Close()
	}
}

// SkippedRow is a row that a run leaves out: the index of its data set and the row's number, both from 0.
type SkippedRow struct{ Data, Row int }

// WholePass says whether the run takes every row.
func (d *Dataset) WholePass() bool {
	_, end := d.Steps.Span(d.Steps.Steps() - 1)
	partial := slices.ContainsFunc(d.Stage.Data, func(entry recipes.Data) bool { return entry.Weight < 1 })
	return end >= int64(d.Mixture.Len()) && !partial
}

// Passes returns the step, from 1, by which more than limit distinct rows of bad have been drawn; 0 if none.
func (d *Dataset) Passes(bad map[SkippedRow]bool, limit int) int {
	drawn := map[SkippedRow]bool{}
	for step := range d.Steps.Steps() {
		first, end := d.Steps.Span(step)
		for position := first; position < end; position++ {
			source, row := d.Order.At(position)
			if at := (SkippedRow{source, row}); bad[at] {
				drawn[at] = true
			}
		}
		if len(drawn) > limit {
			return step + 1
		}
	}
	return 0
}

// StorageFault says whether an error of preprocessor a row is anything but a fault of the row itself.
func StorageFault(err error) bool { return err != nil && !errors.Is(err, picture.ErrRow) }

// CheckBlock is how many rows a check's worker takes at a time.
const CheckBlock = 512
