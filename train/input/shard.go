package input

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/llavatrain/llavatrain/checkpoints"
	"github.com/llavatrain/llavatrain/data/picture"
	"github.com/llavatrain/llavatrain/data/rows"
	"github.com/llavatrain/llavatrain/recipes"
	"github.com/llavatrain/llavatrain/runs"
	"github.com/llavatrain/llavatrain/runs/failure"
)

// ShardOptions says how to write the data of a stage into shards.
type ShardOptions struct {
	Stage  string // pretrain or finetune: the section of the recipe
	Dir    string
	Pixels bool  // images as the tower takes them, instead of their files
	Bytes  int64 // a shard ends with the row that reaches this size
	Report runs.Observer
}

// Shard writes every row of a stage's data once, in the order of the recipe's list, and continues where an earlier call
// stopped. A row that cannot be read is written with the reason, so that training from the shards sees the same rows in
// the same places. When the context ends it, complete shards are kept.
func Shard(ctx context.Context, r *recipes.Recipe, o ShardOptions) error {
	s := &sharder{options: o}
	if err := s.open(r); err != nil {
		return err
	}
	defer s.Close()
	target, err := s.target()
	if err != nil {
		return err
	}
	shards, done, complete, err := rows.FinishedShards(target)
	if err != nil {
		return err
	}
	if complete {
		o.Report.Say(fmt.Sprintf("%s is complete: %s rows in %d shards, all hashes match",
			o.Dir, runs.Grouped(int64(done)), shards))
		return nil
	}
	if done > 0 {
		o.Report.Say(fmt.Sprintf("continuing after %s rows in %d finished shards", runs.Grouped(int64(done)), shards))
	}
	if err := s.forecast(done, target.Bytes); err != nil {
		return err
	}
	if err := rows.WriteShards(target, shards, done, s.rows(ctx, done)); err != nil {
		return err
	}
	o.Report.Say(s.outcome())
	return nil
}

// sharder is the state while shards are written.
type sharder struct {
	*Dataset
	options ShardOptions
	total   int

	faults int // rows that cannot be used
	first  string
}

func (s *sharder) open(r *recipes.Recipe) error {
	section, err := r.Stage(s.options.Stage)
	if err != nil {
		return err
	}
	stage := *section
	stage.Order = "sequential" // grouped order would read every row's length, which is not needed here
	for i, entry := range stage.Data {
		if entry.Shards != "" {
			return failure.Inputf("data[%d] is already in shards", i)
		}
		if len(stage.Data) > 1 && entry.Weight != stage.Data[0].Weight {
			return failure.Inputf("data[%d] and data[0] have different weights, but shards hold every row once: "+
				"write a recipe and shards for each weight, and set the weights where the shards are used", i)
		}
	}
	preprocessor, err := OpenPreprocessor(r.Model)
	if err != nil {
		return err
	}
	if s.options.Pixels && len(preprocessor.Processors) > 1 {
		return failure.Inputf("shards hold an image as one tower takes it, and the model has two: " +
			"leave --pixels out, so that they hold the images' files")
	}
	if s.Dataset, err = OpenDataset(r, &stage, preprocessor, s.options.Report); err != nil {
		return err
	}
	for _, source := range s.Sources {
		s.total += source.Len()
	}
	return nil
}

// target describes the shards; Origin identifies, by content, everything that they depend on.
func (s *sharder) target() (rows.ShardOptions, error) {
	target := rows.ShardOptions{Dir: s.options.Dir, Bytes: s.options.Bytes}
	if s.options.Pixels {
		target.Pixels = s.pixels()
	}
	prints, err := s.Fingerprints()
	if err != nil {
		return target, err
	}
	names := []string{
		s.Stage.Template, s.Stage.Image, strconv.FormatInt(s.options.Bytes, 10), strconv.FormatBool(s.options.Pixels),
	}
	if s.Stage.Turn == recipes.TurnByEXIF {
		names = append(names, "orientation="+s.Stage.Turn)
	}
	if s.Stage.Image == recipes.AnyResolution && s.Tiling != nil {
		names = append(names, "tiles="+s.Tiling.String())
	}
	for _, key := range slices.Sorted(maps.Keys(prints)) {
		names = append(names, key+"="+prints[key])
	}
	text, err := json.Marshal(names)
	target.Origin = HashOf(text)
	return target, err
}

// pixels says how this stage prepares images.
func (d *Dataset) pixels() *rows.Pixels {
	processor := d.Processors[0]
	p := &rows.Pixels{Processor: string(processor.JSON()), Size: processor.Size, Aspect: d.Stage.Image}
	if d.Stage.Turn == recipes.TurnByEXIF {
		p.Orientation = d.Stage.Turn
	}
	if d.Stage.Image == recipes.AnyResolution && d.Tiling != nil {
		p.Tiles = d.Tiling.String()
	}
	return p
}

// suits refuses shards whose images were prepared differently from this stage's.
func (d *Dataset) suits(stored *rows.Pixels) error {
	want := d.pixels()
	switch {
	case stored == nil:
		return nil
	case len(d.Processors) > 1:
		return failure.Inputf("its images were prepared for one tower, and the model has two: " +
			"write the shards again without --pixels")
	case *stored == *want:
		return nil
	case stored.Size != want.Size:
		return failure.Inputf("its images have %d pixels a side, the tower takes %d: "+
			"write the shards again for this tower", stored.Size, want.Size)
	case stored.Aspect != want.Aspect:
		return failure.Inputf("its images were prepared with image: %s, the stage has image: %s: "+
			"write the shards again or change the key", stored.Aspect, want.Aspect)
	case stored.Tiles != want.Tiles:
		return failure.Inputf("its images were cut into %s, the stage wants %s: "+
			"write the shards again or change model.tiles", stored.Tiles, want.Tiles)
	case stored.Orientation != want.Orientation:
		return failure.Inputf("its images were prepared with orientation: %s, the stage has orientation: %s: "+
			"write the shards again or change the key", cmp.Or(stored.Orientation, "ignore"), d.Stage.Turn)
	}
	return failure.Inputf("its images were prepared with a preprocessor_config.json that differs from the tower's: " +
		"write the shards again for this tower")
}

// forecast reads a few rows and reports how much space and time all of them will take. It fails if the disk does not
// have the space.
func (s *sharder) forecast(done int, shard int64) error {
	const sampled = 48
	left := s.total - done
	n := min(sampled, left)
	begin, size := time.Now(), int64(0)
	for k := range n {
		m := s.row(done + k*left/n)
		if m.err != nil {
			return m.err
		}
		size += rowBytes(m.row.Record)
	}
	bytes := size / int64(n) * int64(left)
	took := time.Since(begin) / time.Duration(n) * time.Duration(left) / time.Duration(runtime.GOMAXPROCS(0))
	s.options.Report.Say(fmt.Sprintf("forecast: %s rows, about %s in %d shards, about %v",
		runs.Grouped(int64(left)), checkpoints.Megabytes(bytes), bytes/shard+1, took.Round(time.Second)))
	if err := checkpoints.NeedSpace(s.options.Dir, bytes); err != nil {
		return fmt.Errorf("shards: %w", err)
	}
	return nil
}

func rowBytes(r rows.Record) int64 {
	const frame = 1200 // bytes around a row in its Arrow message
	n := frame
	for _, turn := range r.Turns {
		n += len(turn.Text) + 16
	}
	for _, image := range r.Images {
		n += len(image.File)
		if image.Prepared != nil {
			n += len(image.Prepared.Pixels)
		}
	}
	return int64(n)
}

// rows makes the rows from first on, in order, on all processors.
func (s *sharder) rows(ctx context.Context, first int) iter.Seq2[rows.ShardRow, error] {
	const together = 64
	return func(yield func(rows.ShardRow, error) bool) {
		for ; first < s.total; first += together {
			made := s.make(first, min(first+together, s.total))
			for _, m := range made {
				if ctx.Err() != nil {
					m.err = runs.ErrInterrupted
				}
				s.count(m)
				if !yield(m.row, m.err) {
					return
				}
			}
			s.options.Report.Progress("writing shards", int64(first+len(made)), int64(s.total))
		}
	}
}

// madeRow is a row, or the error of the disk or the program that prevented it.
type madeRow struct {
	row    rows.ShardRow
	reason string // why training will skip it
	err    error
}

func (s *sharder) make(first, end int) []madeRow {
	made := make([]madeRow, end-first)
	workers := runtime.GOMAXPROCS(0)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for k := w; k < len(made); k += workers {
				made[k] = s.row(first + k)
			}
		})
	}
	wait.Wait()
	return made
}

func (s *sharder) count(m madeRow) {
	if m.reason == "" {
		return
	}
	if s.faults++; s.faults == 1 {
		s.first = m.reason
	}
}

// row makes one row. number counts through all data sets.
func (s *sharder) row(number int) (m madeRow) {
	source := 0
	for ; number >= s.Sources[source].Len(); source++ {
		number -= s.Sources[source].Len()
	}
	m.row.DataSet = filepath.Base(s.Stage.Data[source].Path)
	record, unread := s.record(source, number)
	if unread == nil {
		unread = s.hold(source, record.Images)
	}
	m.row.Record = record
	sample, unfit := s.Encoder.Encode(record, s.imageSizes(source, record.Images))
	switch {
	case unread != nil && len(record.Turns) > 0 && unfit != nil:
		m.row.Fault = unfit.Error() // the error that training would meet first
	case unread != nil:
		m.row.Fault = unread.Error()
	case unfit == nil:
		m.row.Tokens = sample.Length()
	}
	if fault := errors.Join(unread, unfit); fault != nil {
		reason, _, _ := strings.Cut(fault.Error(), "\n")
		m.reason = fmt.Sprintf("row %d of %s: %s", number, m.row.DataSet, reason)
	}
	for _, err := range []error{unread, unfit} {
		if err != nil && !errors.Is(err, picture.ErrRow) {
			m.err = err
		}
	}
	return m
}

// hold puts the content of a row's images into the row.
func (s *sharder) hold(source int, images []picture.Image) error {
	for k := range images {
		local := s.Images[source].Local(images[k].Path) // shards are read beside another folder
		if !s.options.Pixels {
			file, err := s.Images[source].File(images[k])
			if err != nil {
				return err
			}
			images[k].File, images[k].Path = file, local
			continue
		}
		picture, err := s.picture(s.Images[source], images[k], len(images) > 1)
		if err != nil {
			return err
		}
		images[k].File, images[k].Prepared, images[k].Path = nil, &picture, local
	}
	return nil
}

// outcome says what was written and how to read it.
func (s *sharder) outcome() string {
	text := fmt.Sprintf("wrote %s rows; read them with\n  data: [{shards: %s}]",
		runs.Grouped(int64(s.total)), s.options.Dir)
	if s.faults > 0 {
		text += fmt.Sprintf("\n%d of the rows written now cannot be used; training will skip them. The first: %s",
			s.faults, s.first)
	}
	return text
}
