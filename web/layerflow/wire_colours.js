// Colours of this pack's own wires and slots, in both renderers.

import { app } from '../../../scripts/app.js'

const COLOURS = {
  LAYERFLOW_LAYERS: '#38c7b4',
  LAYERFLOW_PROMPTS: '#f2b84b',
  LAYERFLOW_MODEL: '#b18cf0',
  LAYERFLOW_GIVEN: '#7fb069'
}

app.registerExtension({
  name: 'LayerFlow.WireColours',
  setup() {
    Object.assign(window.LGraphCanvas?.link_type_colors ?? {}, COLOURS)
    Object.assign(app.canvas.default_connection_color_byType ?? {}, COLOURS)
    for (const [type, colour] of Object.entries(COLOURS))
      document.documentElement.style.setProperty(`--color-datatype-${type}`, colour)
    app.canvas.setDirty(true, true)
  }
})
