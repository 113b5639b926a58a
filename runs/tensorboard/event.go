package tensorboard

import (
	"fmt"
	"math"
)

// Event is one record of a file: values at a step, or what a file begins with.
type Event struct {
	WallTime float64 // seconds since 1970
	Step     int64
	Version  string // of the format, in the first record
	Start    bool   // a run goes on with Step: what earlier files have of it, and of later ones, does not count
	Values   []Value
}

// version is what each file begins with.
const version = "brain.Event:2"

// Kind says what a value is.
type Kind int

// Kinds of values, and the fields that they have.
const (
	Scalar   Kind = iota // Number
	Text                 // Text, which is shown as Markdown
	Picture              // Width, Height, Encoded
	Settings             // Content: see Experiment, Session and SessionEnd
)

// Value is what an event has under a tag.
type Value struct {
	Tag           string
	Kind          Kind
	Number        float32
	Text          string
	Width, Height int
	Encoded       []byte // PNG or JPEG
	Content       []byte
}

// Names and numbers of the formats.
const (
	textPlugin, settingsPlugin = "text", "hparams"

	classTensor  = 2 // DATA_CLASS_TENSOR
	typeString   = 7 // DT_STRING
	colours      = 3 // RGB
	statusStart  = 1 // SessionLog.START
	fieldSummary = 5
	fieldSession = 7
)

// noNumber is the tensor of settings, whose content is beside it: a float without an element.
var noNumber = message{0x08, 0x01, 0x12, 0x02, 0x12, 0x00}

func (e Event) encode() message {
	m := message{}.double(1, e.WallTime)
	if e.Step != 0 {
		m = m.varint(2, uint64(e.Step))
	}
	if e.Version != "" {
		m = m.text(3, e.Version)
	}
	if len(e.Values) > 0 {
		summary := message{}
		for _, v := range e.Values {
			summary = summary.bytes(1, v.encode())
		}
		m = m.bytes(fieldSummary, summary)
	}
	if e.Start {
		m = m.bytes(fieldSession, message{}.varint(1, statusStart))
	}
	return m
}

func (v Value) encode() message {
	m := message{}.text(1, v.Tag)
	switch v.Kind {
	case Scalar:
		return m.float(2, v.Number)
	case Picture:
		return m.bytes(4, message{}.varint(1, uint64(v.Height)).varint(2, uint64(v.Width)).varint(3, colours).
			bytes(4, v.Encoded))
	case Text:
		shape := message{}.bytes(2, message{}.varint(1, 1))
		m = m.bytes(8, message{}.varint(1, typeString).bytes(2, shape).text(8, v.Text))
		return m.bytes(9, metadata(textPlugin, nil))
	}
	return m.bytes(8, noNumber).bytes(9, metadata(settingsPlugin, v.Content))
}

// metadata says which plugin shows a tensor.
func metadata(plugin string, content []byte) message {
	data := message{}.text(1, plugin)
	if content != nil {
		data = data.bytes(2, content)
	}
	return message{}.bytes(1, data).varint(4, classTensor)
}

// decode reads an event. Fields and kinds of values that this package does not write are passed over.
func (e *Event) decode(m message) error {
	return m.fields(func(f field) error {
		switch {
		case f.id == 1 && f.wire == wireDouble:
			e.WallTime = f.double()
		case f.id == 2 && f.wire == wireVarint:
			e.Step = int64(f.number)
		case f.id == 3 && f.wire == wireBytes:
			e.Version = string(f.bytes)
		case f.id == fieldSession && f.wire == wireBytes:
			return message(f.bytes).fields(func(status field) error {
				if status.id == 1 && status.wire == wireVarint {
					e.Start = status.number == statusStart
				}
				return nil
			})
		case f.id == fieldSummary && f.wire == wireBytes:
			return e.decodeSummary(f.bytes)
		}
		return nil
	})
}

func (e *Event) decodeSummary(m message) error {
	return m.fields(func(f field) error {
		if f.id != 1 || f.wire != wireBytes {
			return nil
		}
		v := Value{Kind: -1}
		if err := v.decode(f.bytes); err != nil {
			return fmt.Errorf("value %d of its event: %w", len(e.Values), err)
		}
		if v.Kind >= 0 {
			e.Values = append(e.Values, v)
		}
		return nil
	})
}

func (v *Value) decode(m message) error {
	var text string
	err := m.fields(func(f field) error {
		switch {
		case f.id == 1 && f.wire == wireBytes:
			v.Tag = string(f.bytes)
		case f.id == 2 && f.wire == wireFloat:
			v.Kind, v.Number = Scalar, f.float()
		case f.id == 4 && f.wire == wireBytes:
			v.Kind = Picture
			return v.decodePicture(f.bytes)
		case f.id == 8 && f.wire == wireBytes:
			return message(f.bytes).fields(func(part field) error {
				if part.id == 8 && part.wire == wireBytes {
					text = string(part.bytes)
				}
				return nil
			})
		case f.id == 9 && f.wire == wireBytes:
			return v.decodeMetadata(f.bytes)
		}
		return nil
	})
	if v.Kind == Text {
		v.Text = text
	}
	return err
}

func (v *Value) decodePicture(m message) error {
	return m.fields(func(f field) error {
		switch {
		case f.id == 1 && f.wire == wireVarint:
			v.Height = int(min(f.number, math.MaxInt32))
		case f.id == 2 && f.wire == wireVarint:
			v.Width = int(min(f.number, math.MaxInt32))
		case f.id == 4 && f.wire == wireBytes:
			v.Encoded = f.bytes
		}
		return nil
	})
}

func (v *Value) decodeMetadata(m message) error {
	return m.fields(func(f field) error {
		if f.id != 1 || f.wire != wireBytes {
			return nil
		}
		return message(f.bytes).fields(func(part field) error {
			switch {
			case part.id == 1 && string(part.bytes) == textPlugin:
				v.Kind = Text
			case part.id == 1 && string(part.bytes) == settingsPlugin:
				v.Kind = Settings
			case part.id == 2 && part.wire == wireBytes:
				v.Content = part.bytes
			}
			return nil
		})
	})
}
