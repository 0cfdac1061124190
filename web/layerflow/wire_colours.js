// Colours of this pack's own wires and slots.

import { app } from '../../../scripts/app.js'

const COLOURS = {
  LAYERFLOW_LAYERS: '#38c7b4',
  LAYERFLOW_PROMPTS: '#f2b84b',
  LAYERFLOW_MODEL: '#b18cf0',
  LAYERFLOW_GIVEN: '#7fb069'
}

function setColours() {
  Object.assign(window.LGraphCanvas?.link_type_colors ?? {}, COLOURS)
  Object.assign(app.canvas?.default_connection_color_byType ?? {}, COLOURS)
}

app.registerExtension({
  name: 'LayerFlow.WireColours',
  setup: setColours,
  // A palette that is loaded later clears what it does not know.
  nodeCreated: setColours
})
