package tensorboard

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// Tags of the three values that make a run a row of the plugin hparams.
const (
	experimentTag = "_hparams_/experiment"
	startTag      = "_hparams_/session_start_info"
	endTag        = "_hparams_/session_end_info"
)

// Types of settings.
const (
	settingString = 1
	settingBool   = 2
	settingFloat  = 3
)

// typeOf is the type of a setting that is given as text.
func typeOf(text string) uint64 {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return settingFloat
	}
	if text == "true" || text == "false" {
		return settingBool
	}
	return settingString
}

// Experiment describes the settings of a run, and the scalars that they are compared by.
func Experiment(settings map[string]string, metrics ...string) Value {
	m := message{}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		m = m.bytes(4, message{}.text(1, name).varint(4, typeOf(settings[name])))
	}
	for _, tag := range metrics {
		m = m.bytes(5, message{}.bytes(1, message{}.text(2, tag)))
	}
	return Value{Tag: experimentTag, Kind: Settings, Content: message{}.bytes(2, m)}
}

// Session has the values of a run's settings.
func Session(settings map[string]string, began time.Time) Value {
	m := message{}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value, text := message{}, settings[name]
		switch typeOf(text) {
		case settingFloat:
			number, _ := strconv.ParseFloat(text, 64) // it is one
			value = value.double(2, number)
		case settingBool:
			set := uint64(0)
			if text == "true" {
				set = 1
			}
			value = value.varint(4, set)
		default:
			value = value.text(3, text)
		}
		m = m.bytes(1, message{}.text(1, name).bytes(2, value))
	}
	return Value{Tag: startTag, Kind: Settings, Content: message{}.bytes(3, m.double(5, seconds(began)))}
}

// SessionEnd says that a run has reached its end.
func SessionEnd(at time.Time) Value {
	const success = 1
	return Value{Tag: endTag, Kind: Settings,
		Content: message{}.bytes(4, message{}.varint(1, success).double(2, seconds(at)))}
}

// seconds are those since 1970, to the microsecond.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
