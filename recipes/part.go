package recipes

// The parts of a model: the keys of Stage.Train.
const (
	PartVision    = "vision"
	PartProjector = "projector"
	PartLanguage  = "language"
)

// Parts are all parts of a model, in the order of the data's path through them.
var Parts = []string{PartVision, PartProjector, PartLanguage}
