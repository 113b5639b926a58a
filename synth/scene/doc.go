// Package scene reads annotations of images, their captions and boxes, and writes them as the text that a chat model
// which sees no images is given in their place (Liu et al. 2023, section 3).
//
//  1. A reader ([ReadCOCO], [ReadJSONL], [ReadVisualGenome]) takes the annotation files apart element by element.
//  2. What is read is cleaned: captions become single lines, captions that would steer the chat model go, boxes become
//     fractions of the image. Everything that goes is counted, with its [Reason].
//  3. [Scene.Context] writes what is left.
package scene
