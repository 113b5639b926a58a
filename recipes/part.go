package recipes

// The parts of a model: the keys of Stage.Train.
const (
	PartVision    = "vision"
	PartProjector = "projector"
	PartLanguage  = "language"
)

// Parts are all parts of a model, in the order in which data passes through them.
var Parts = []string{PartVision, PartProjector, PartLanguage}
